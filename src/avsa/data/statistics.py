"""Mean and standard deviation of the audio features, per channel and mel bin, over the training split.

Shapes: N rows, K crops, C feature channels, T frames, M mel bins, S samples.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.draw import ViewSampler, draw_windows
from avsa.data.sound import audio_features, audio_samples, crop_rotation
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


class RunningMoments:
    """Mean and variance of a stream, exact to rounding in one pass.

    Pairwise update: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979, equations 2.1.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean_CM = torch.zeros((), dtype=torch.float64)
        self.squares_CM = torch.zeros((), dtype=torch.float64)  # Σ (x − mean)²

    def add(self, features_XCTM: Tensor) -> None:
        """Take in more values; X is any leading axis."""
        part = features_XCTM.to(torch.float64)
        count = part.shape[0] * part.shape[2]
        variance_CM, mean_CM = torch.var_mean(part, dim=(0, 2), correction=0)
        delta_CM = mean_CM - self.mean_CM
        total = self.count + count
        self.squares_CM = self.squares_CM + variance_CM * count + delta_CM**2 * (self.count * count / total)
        self.mean_CM = self.mean_CM + delta_CM * (count / total)
        self.count = total

    def statistics(self, settings: str = "") -> Statistics:
        """Mean and (population) standard deviation so far."""
        std_CM = torch.sqrt(self.squares_CM / self.count)
        std_CM = torch.where(std_CM > CONSTANT, std_CM, 1.0)
        return Statistics(self.mean_CM.float().numpy(), std_CM.float().numpy(), settings)


def compute_statistics(
    store: ClipStore,
    views: config.Views,
    audio: config.Audio,
    seed: int,
    out: Path,
    *,
    progress: bool = True,
) -> Statistics:
    """Statistics of the sound of `audio.statistics_clips` clips (all, if there are fewer) drawn without replacement,
    one moment and K crops of each, without mirroring and gain; written to `out`.

    Raises:
        UserError: clips of different sizes or rates, one that cannot be decoded, or `out` cannot be written.
    """
    from avsa.data.dataset import undecodable, usable_clips  # with PyAV, which normalising does without
    from avsa.data.decode import decode_audio

    views = views.model_copy(update={"mirror": 0.0, "gain_jitter": 0.0})
    features, sample = audio_features(views, audio, store[0].sample_rate), ViewSampler(views)
    samples = audio_samples(views, store[0].sample_rate)
    moments = RunningMoments()
    chosen = np.random.default_rng(seed).permutation(usable_clips(store, views, 1))[: audio.statistics_clips]
    for index in tqdm(chosen, desc="feature statistics", unit="clip", disable=None if progress else True):
        clip, key = store[int(index)], (seed, 0, 0, int(index))
        (window,) = draw_windows(clip, views, 1, *key)
        try:
            foa_CS = decode_audio(store.read(clip, "flac"), window.first_sample, samples)
        except ValueError as error:
            raise undecodable(store, clip, error) from None
        drawn = sample(*key, 0)
        centres = (drawn.viewpoints.azimuth_BK, drawn.viewpoints.elevation_BK)
        rotation_1K44 = crop_rotation(*centres, drawn.mirror_K, views.rule)
        moments.add(features(torch.from_numpy(foa_CS)[None], rotation_1K44)[0])
    statistics = moments.statistics(feature_settings(views, audio, store[0].sample_rate))
    statistics.save(out)
    return statistics
