"""What training and evaluation read alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.statistics import Statistics, feature_settings
from avsa.data.views import Views
from avsa.errors import UserError
from avsa.stages import paths


def open_store(config: Config, split: str | None = None) -> ClipStore:
    """The clips of a split, or of all, where the configuration says that they are.

    Raises:
        UserError: as `ClipStore`.
    """
    return ClipStore(config.store.address or paths.clips(config), split, config.store)


def build_views(config: Config) -> Views:
    """The views of the configuration, normalised with the data set's statistics.

    Raises:
        UserError: clips of other rates than the configuration's; no statistics, or those of other features.
    """
    store, clips = open_store(config), config.clips
    clip = store[0]
    if (clip.fps, clip.sample_rate) != (clips.fps, clips.sample_rate):
        raise UserError(
            f"{store.root} holds clips of {clip.fps:g} frames and {clip.sample_rate} samples a second, but "
            f"clips.fps is {clips.fps:g} and clips.sample_rate {clips.sample_rate}: ingest with the same --base"
        )
    sample_rate = clip.sample_rate
    path, wanted = paths.statistics(config), feature_settings(config.views, config.audio, sample_rate)
    statistics = Statistics.load(path)
    if statistics.settings != wanted:
        raise UserError(f"{path} is of other features ({statistics.settings}), not of {wanted}: run avsa stats")
    return Views(config.views, config.audio, sample_rate, statistics)


def digest(path: Path) -> str:
    """Hash of a file's content; UserError where the stage that writes it has not run."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run the stages before this one (dvc repro)") from None
