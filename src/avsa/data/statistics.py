"""Mean and standard deviation of the audio features, per channel and mel bin, over the training split.

Shapes: K crops, C feature channels, M mel bins.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.moments import Kept, Moments
from avsa.errors import UserError

Floats = npt.NDArray[np.float32]

CONSTANT = 1e-4
"""A bin whose standard deviation is below this (an empty mel filter) is centred but not scaled."""


@dataclass(frozen=True)
class Statistics:
    """What features are normalised with: (feature − mean_CM) / std_CM; `settings` are those of the features."""

    mean_CM: Floats
    std_CM: Floats
    settings: str = ""

    def save(self, path: Path) -> None:
        """Write an .npz; what was there stays until the new file is complete.

        Raises:
            UserError: the place is not writable.
        """
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(file, mean_CM=self.mean_CM, std_CM=self.std_CM, settings=self.settings)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: no such file, damaged, or another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["mean_CM"], arrays["std_CM"], str(arrays["settings"]))
        except FileNotFoundError:
            raise UserError(f"{path}: missing; run the statistics stage (avsa stats)") from None
        except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not a file of feature statistics ({error}): run avsa stats") from error


def feature_settings(views: config.Views, audio: config.Audio, sample_rate: int) -> str:
    """All that decides what a bin of the features means, as one line."""
    decisive = {**audio.model_dump(exclude={"statistics_clips"}), "audio_s": views.audio_s, "sample_rate": sample_rate}
    return ", ".join(f"{name} {value}" for name, value in decisive.items())


def compute_statistics(
    store: ClipStore,
    views: config.Views,
    audio: config.Audio,
    seed: int,
    out: Path,
    *,
    jobs: int = 1,
    progress: bool = True,
) -> Statistics:
    """Statistics of the sound of `audio.statistics_clips` clips (all, if there are fewer) drawn without replacement,
    one moment and K crops of each, without mirroring and gain; written to `out`.

    The file is the same bytes for any number of jobs. Interrupted at any moment, the next call continues from what was
    measured, which lies in a hidden file beside `out` until all is done.

    Args:
        jobs: processes; -1 is one per core.

    Raises:
        UserError: clips of different sizes or rates, one that cannot be decoded, or `out` cannot be written.
    """
    from avsa.data.dataset import usable_clips  # with PyAV, which normalising does without
    from avsa.data.measure import ClipMoments, measured

    views = views.model_copy(update={"mirror": 0.0, "gain_jitter": 0.0})
    chosen = np.random.default_rng(seed).permutation(usable_clips(store, views, 1))[: audio.statistics_clips]
    clips = ClipMoments(store, chosen.tolist(), views, audio, seed)
    kept = Kept(out, clips.key())
    parts, moments = kept.load()
    processes = len(os.sched_getaffinity(0)) if jobs == -1 else jobs
    try:
        with tqdm(
            total=len(chosen),
            initial=sum(map(len, clips.parts[:parts])),
            desc="feature statistics",
            unit="clip",
            disable=None if progress else True,
        ) as bar:
            for part in measured(clips, parts, processes):
                bar.update(len(clips.parts[parts]))
                parts, moments = parts + 1, moments.merged(part)
                kept.save(parts, moments)
    except OSError as error:
        raise UserError(f"cannot write {kept.path}: {error.strerror}") from error
    statistics = normalising(moments, feature_settings(views, audio, store[0].sample_rate))
    statistics.save(out)
    kept.remove()
    return statistics


def normalising(moments: Moments, settings: str) -> Statistics:
    """Mean and (population) standard deviation in single precision, 1 where a bin is constant."""
    deviation_CM = moments.deviation()
    std_CM = np.where(deviation_CM > CONSTANT, deviation_CM, 1.0)
    return Statistics(moments.mean_CM.astype(np.float32), std_CM.astype(np.float32), settings)
