"""Examples of a clip store, decoded whole batches at a time.

Shapes: as in `avsa.data.batch`.
"""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from avsa.clips.clip import Clip
from avsa.clips.store import ClipStore
from avsa.config import Views
from avsa.data.batch import Batch
from avsa.data.decode import decode_audio, decode_video
from avsa.data.draw import ViewSampler, draw_windows, window_range
from avsa.data.sound import audio_samples
from avsa.errors import UserError

log = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """Which example: the `repeat`-th of a clip in an epoch. It becomes one row per moment."""

    epoch: int
    repeat: int
    clip: int


@dataclass(frozen=True)
class Failure:
    """A user's mistake that came to light in a worker; exceptions cross the border between processes as a traceback."""

    message: str


class ClipExamples(Dataset[Batch]):
    """Batches of examples by key.

    Attributes:
        usable: indices of the clips that are long enough for the moments asked for.

    Raises:
        UserError: on construction, as `usable_clips`.
    """

    def __init__(self, store: ClipStore, views: Views, seed: int, moments: int) -> None:
        self.store, self.views, self.seed, self.moments = store, views, seed, moments
        self.sample = ViewSampler(views)
        self.clip = store[0]
        self.usable = usable_clips(store, views, moments)

    @property
    def shards(self) -> Ints:
        """The number of the shard of each usable clip."""
        return self.store.columns["shard"][self.usable].astype(np.int64)

    def __getitems__(self, examples: list[Example]) -> Batch | Failure:
        try:
            return self.batch(examples)
        except UserError as error:
            return Failure(str(error))

    def batch(self, examples: list[Example]) -> Batch:
        """The rows of the examples.

        Raises:
            UserError: a clip cannot be read or decoded; its id is in the message.
        """
        N, T, H, W = len(examples) * self.moments, self.views.frames, self.clip.height, self.clip.width
        samples = audio_samples(self.views, self.clip.sample_rate)
        y_NTHW = _shared((N, T, H, W), torch.uint8)
        uv_NT2hw = _shared((N, T, 2, H // 2, W // 2), torch.uint8)
        foa_NCS = _shared((N, 4, samples), torch.float32)
        y, uv, foa = y_NTHW.numpy(), uv_NT2hw.numpy(), foa_NCS.numpy()
        rgb, draws, ids = [], [], []
        clips = np.array([example.clip for example in examples])
        for i, example in enumerate(examples):
            clip = self.store[example.clip]
            key = (self.seed, example.epoch, example.repeat, example.clip)
            mp4, flac = self.store.read(clip, "mp4"), self.store.read(clip, "flac")
            for moment, window in enumerate(draw_windows(clip, self.views, self.moments, *key)):
                n = i * self.moments + moment
                try:
                    planes = decode_video(mp4, window.first_frame, T, out=(y[n], uv[n]))
                    foa[n] = decode_audio(flac, window.first_sample, samples)
                except ValueError as error:
                    raise UserError(
                        f"clip {clip.id} in {self.store.root / clip.shard}: {error}; ingest it again"
                    ) from None
                rgb.append(planes.rgb_34)
                draws.append(self.sample(*key, moment))
                ids.append(clip.id)
        return Batch(
            y_NTHW=y_NTHW,
            uv_NT2hw=uv_NT2hw,
            rgb_N34=torch.from_numpy(np.stack(rgb)),
            foa_NCS=foa_NCS,
            azimuth_NK=torch.cat([draw.viewpoints.azimuth_BK for draw in draws]),
            elevation_NK=torch.cat([draw.viewpoints.elevation_BK for draw in draws]),
            fov_NK=torch.cat([draw.viewpoints.fov_BK for draw in draws]),
            aspect_NK=torch.cat([draw.viewpoints.aspect_BK for draw in draws]),
            mirror_NK=torch.stack([draw.mirror_K for draw in draws]),
            jitter_NK4=torch.stack([draw.jitter_K4 for draw in draws]),
            gain_N=torch.stack([draw.gain for draw in draws]),
            clip_N=torch.from_numpy(clips).repeat_interleave(self.moments),
            source_N=torch.from_numpy(self.store.columns["source"][clips]).long().repeat_interleave(self.moments),
            moment_N=torch.arange(self.moments).repeat(len(examples)),
            ids=ids,
        )


def usable_clips(store: ClipStore, views: Views, moments: int) -> Ints:
    """Indices of the clips that are long enough for the moments asked for; a warning says if some are not.

    Raises:
        UserError: the clips' sizes or rates differ, or all are too short.
    """
    columns, forms = store.columns, store.columns.forms
    first_form = forms[columns["form"][0]]
    for name in ("width", "height", "fps", "sample_rate"):
        differs = np.array([getattr(form, name) != getattr(first_form, name) for form in forms])
        if len(others := np.flatnonzero(differs[columns["form"]])):
            other = store[int(others[0])]
            raise UserError(
                f"clip {other.id} has {name} {getattr(other, name)}, clip {store[0].id} has {getattr(first_form, name)}"
                ": ingest all clips of a store with the same settings"
            )
    lengths = columns.rows[["frames", "duration_s"]]
    _, example, which = np.unique(lengths, return_index=True, return_inverse=True)
    ranges = [window_range(store[int(index)], views) for index in example]
    usable = np.flatnonzero(np.array([last - first + 1 >= moments for first, last in ranges])[which])
    if not len(usable):
        raise UserError(
            f"no clip of {store.root} is long enough for {moments} moment(s) of {views.frames} frames and "
            f"{views.audio_s:g} s of sound"
        )
    if len(usable) < len(store):
        log.warning("%d of %d clips are too short and left out", len(store) - len(usable), len(store))
    return usable


def undecodable(store: ClipStore, clip: Clip, error: ValueError) -> UserError:
    """The user's view of a decoding error."""
    return UserError(f"clip {clip.id} in {store.root / clip.shard}: {error}; ingest it again")


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An empty tensor, in a worker in memory that the main process can map, so that nothing is copied."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage: Any = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    tensor: Tensor = torch.empty(0, dtype=dtype).set_(storage).view(shape)
    return tensor
