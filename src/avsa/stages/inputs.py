"""What training and evaluation read alike."""

from __future__ import annotations

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.statistics import Statistics
from avsa.data.views import Views
from avsa.stages import paths


def build_views(config: Config) -> Views:
    """The views of the configuration, normalised with the data set's statistics."""
    sample_rate = ClipStore(paths.clips(config))[0].sample_rate
    return Views(config.views, config.audio, sample_rate, Statistics.load(paths.statistics(config)))
