"""Moments of the audio features of clips, measured by several processes: the same bits for any number of them.

Shapes: C channels, S samples, K crops.
"""

import hashlib
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.dataset import Failure, undecodable
from avsa.data.decode import decode_audio
from avsa.data.draw import ViewSampler, draw_windows
from avsa.data.moments import Moments
from avsa.data.sound import audio_features, audio_samples, crop_rotation
from avsa.errors import UserError

PART = 32  # clips; moments are merged part by part in this fixed grouping


class ClipMoments(Dataset[Moments | Failure]):
    """Moments of the features of each part of some clips, one moment and K crops of a clip.

    Attributes:
        parts: the clips' indices, `PART` at a time.
    """

    def __init__(
        self, store: ClipStore, clips: Sequence[int], views: config.Views, audio: config.Audio, seed: int
    ) -> None:
        self.store, self.views, self.audio, self.seed = store, views, audio, seed
        self.parts = [[int(clip) for clip in clips[i : i + PART]] for i in range(0, len(clips), PART)]
        self.sample, sample_rate = ViewSampler(views), store[0].sample_rate
        self.features = audio_features(views, audio, sample_rate)
        self.samples = audio_samples(views, sample_rate)

    def key(self) -> str:
        """Changes whenever the moments do: a hash of the clips, where they lie, and the settings."""
        digest = hashlib.sha256(f"{PART} {self.seed} {self.views!r} {self.audio!r}".encode())
        for clip in (clip for part in self.parts for clip in part):
            digest.update(f"\n{clip} {self.store[clip].model_dump_json()}".encode())
        return digest.hexdigest()

    def __getitem__(self, number: int) -> Moments | Failure:
        moments = Moments()
        try:
            for clip in self.parts[number]:
                moments = moments.merged(self._clip(clip))
        except UserError as error:
            return Failure(str(error))
        return moments

    def _clip(self, index: int) -> Moments:
        clip, key = self.store[index], (self.seed, 0, 0, index)
        (window,) = draw_windows(clip, self.views, 1, *key)
        try:
            foa_CS = decode_audio(self.store.read(clip, "flac"), window.first_sample, self.samples)
        except ValueError as error:
            raise undecodable(self.store, clip, error) from None
        drawn = self.sample(*key, 0)
        centres = (drawn.viewpoints.azimuth_BK, drawn.viewpoints.elevation_BK)
        rotation_1K44 = crop_rotation(*centres, drawn.mirror_K, self.views.rule)
        return Moments.of(self.features(torch.from_numpy(foa_CS)[None], rotation_1K44)[0])


def measured(clips: ClipMoments, first: int, jobs: int) -> Iterator[Moments]:
    """The moments of each part from the `first`-th on, in order, by `jobs` processes.

    Raises:
        UserError: a clip cannot be read or decoded (its id is in the message), or a process was killed.
    """
    workers = min(jobs, len(clips.parts) - first) if jobs > 1 else 0
    loader: DataLoader[Any] = DataLoader(
        clips,
        batch_size=None,
        sampler=range(first, len(clips.parts)),
        collate_fn=_as_is,
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_main_process,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have it: sums are rounded by the number of threads
    try:
        for moments in loader:
            if isinstance(moments, Failure):
                raise UserError(moments.message)
            yield moments
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError("a measuring process was killed, probably for want of memory: try fewer jobs") from error
    finally:
        torch.set_num_threads(threads)


def _as_is(item: Any) -> Any:
    return item


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
