"""All that is random about a training example, drawn from generators of its own.

A generator is seeded by (seed, epoch, repeat, clip), and for what belongs to one moment also by the moment. So an
example does not depend on the batch, rank or worker that it is made in, nor on what was made before it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avsa.clips.clip import Clip
from avsa.config import Views
from avsa.data.sound import audio_samples
from avsa.geometry.crops import CropSampler, Viewpoints
from avsa.geometry.released import ReleasedCropSampler


@dataclass(frozen=True)
class ViewDraw:
    """The random part of one row's K views (fields: `avsa.data.batch.Batch`)."""

    viewpoints: Viewpoints
    mirror_K: Tensor
    jitter_K4: Tensor
    gain: Tensor


class ViewSampler:
    """Draws viewpoints, mirroring, colour jitter and gain within the ranges of the configuration."""

    def __init__(self, views: Views) -> None:
        self.views = views
        sampler = ReleasedCropSampler if views.rule == "released" else CropSampler
        self.crops = sampler(
            crops=views.crops,
            max_elevation=math.radians(views.max_elevation_deg),
            rule=views.elevation_rule,
            min_separation=math.radians(views.min_separation_deg),
            fov=(math.radians(views.fov_deg[0]), math.radians(views.fov_deg[1])),
            aspect=views.aspect,
        )
        brightness, contrast, saturation, hue = views.jitter
        self.jitter_low = torch.tensor([*(max(0.0, 1 - x) for x in (brightness, contrast, saturation)), -hue])
        self.jitter_high = torch.tensor([1 + brightness, 1 + contrast, 1 + saturation, hue])

    def __call__(self, *key: int) -> ViewDraw:
        (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed))
        K = self.views.crops
        viewpoints = self.crops.sample(generator, 1)
        uniform_K6 = torch.rand(K, 6, generator=generator)
        return ViewDraw(
            viewpoints,
            uniform_K6[:, 0] < self.views.mirror,
            self.jitter_low + (self.jitter_high - self.jitter_low) * uniform_K6[:, 1:5],
            1 + self.views.gain_jitter * (2 * uniform_K6[0, 5] - 1),
        )


@dataclass(frozen=True)
class Window:
    """Where in its clip an example lies: frames and samples about the same centre in time."""

    first_frame: int
    first_sample: int


def draw_windows(clip: Clip, views: Views, moments: int, *key: int) -> list[Window]:
    """Windows of `moments` moments at random, in random order; the clip must hold so many starts (`window_range`).

    The starts of two moments are at least half a window (the longer of picture and sound) apart, or as far as the
    clip's length permits.
    """
    first, last = window_range(clip, views)
    between = max(moments - 1, 1)
    half_window = max(views.frames, views.audio_s * clip.fps) / 2
    gap = min(math.ceil(half_window), (last - first) // between) if moments > 1 else 0
    generator = np.random.default_rng(key)
    starts = first + np.sort(generator.integers(0, last - first - gap * (moments - 1) + 1, moments))
    starts = generator.permutation(starts + gap * np.arange(moments))
    last_sample = round(clip.duration_s * clip.sample_rate) - audio_samples(views, clip.sample_rate)
    ahead = _sound_ahead(clip, views)
    return [Window(int(s), min(max(0, round((s / clip.fps - ahead) * clip.sample_rate)), last_sample)) for s in starts]


def window_range(clip: Clip, views: Views) -> tuple[int, int]:
    """First and last frame that a window can begin with, so that its picture and its sound both lie in the clip; the
    last is before the first where the clip is too short."""
    ahead = _sound_ahead(clip, views)
    latest = clip.duration_s - audio_samples(views, clip.sample_rate) / clip.sample_rate + ahead
    # A thousandth of a frame, less than a sample's rounding, so that whole numbers stay whole.
    first = max(0, math.ceil(ahead * clip.fps - 1e-3))
    return first, min(clip.frames - views.frames, math.floor(latest * clip.fps + 1e-3))


def _sound_ahead(clip: Clip, views: Views) -> float:
    """Seconds by which the sound begins before the first frame: both are centred on the same time."""
    return audio_samples(views, clip.sample_rate) / clip.sample_rate / 2 - views.frames / clip.fps / 2
