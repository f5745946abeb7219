"""Clips of flat videos for action recognition: windows, crops, batches.

Shapes: N clips, C = 3 (R, G, B), T frames, H×W pixels of the video, size×size pixels of the crop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from avsa.config import Action, Views
from avsa.data.action_splits import ActionVideo
from avsa.data.dataset import Example, Failure
from avsa.data.films import Films, window
from avsa.data.jitter import colour_jitter_
from avsa.data.views import PICTURE_MEAN, PICTURE_STD
from avsa.errors import UserError

STRETCH = 4 / 3  # a random crop's width to height, at most; its inverse at least
TRIES = 10  # crops drawn before the whole picture is taken


@dataclass(frozen=True)
class ActionBatch:
    """Clips of one step. A test video's clips lie side by side."""

    video_NCTHW: Tensor  # uint8, cropped and mirrored
    jitter_N4: Tensor  # as in :class:`avsa.data.batch.Batch`
    label_N: Tensor
    ids: list[str]

    def to(self, device: torch.device | str) -> ActionBatch:
        """The same batch on the device."""
        tensors = {name: getattr(self, name).to(device, non_blocking=True) for name in TENSORS}
        return replace(self, **tensors)

    def pin_memory(self) -> ActionBatch:
        """The same batch in page-locked memory."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in TENSORS})


TENSORS = ("video_NCTHW", "jitter_N4", "label_N")


@torch.no_grad()
def network_input(batch: ActionBatch) -> Tensor:
    """Jittered crops with ImageNet's normalisation, video_NCTHW in float32 whatever autocast says."""
    N, C, T, H, W = batch.video_NCTHW.shape
    crop_NCTKP = (batch.video_NCTHW.float() / 255).view(N, C, T, 1, H * W)
    with torch.autocast(crop_NCTKP.device.type, enabled=False):
        colour_jitter_(crop_NCTKP, batch.jitter_N4[:, None])
    mean, std = (crop_NCTKP.new_tensor(values)[:, None, None, None] for values in (PICTURE_MEAN, PICTURE_STD))
    return ((crop_NCTKP - mean) / std).view(N, C, T, H, W)


class RandomClips(Dataset[ActionBatch]):
    """Random windows and crops of training videos: the draws depend on (seed, epoch, repeat, video) alone."""

    def __init__(
        self, films: Films, videos: Sequence[ActionVideo], action: Action, views: Views, fps: float, seed: int
    ) -> None:
        self.films, self.videos, self.action, self.views, self.fps, self.seed = films, videos, action, views, fps, seed

    def __getitems__(self, examples: list[Example]) -> ActionBatch | Failure:
        try:
            clips = [self._clip(example) for example in examples]
        except UserError as error:
            return Failure(str(error))
        videos = [self.videos[example.clip] for example in examples]
        return ActionBatch(
            video_NCTHW=torch.stack([video for video, _ in clips]),
            jitter_N4=torch.stack([jitter for _, jitter in clips]),
            label_N=torch.tensor([video.label for video in videos]),
            ids=[video.name for video in videos],
        )

    def _clip(self, example: Example) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, example.epoch, example.repeat, example.clip))
        start, mirror = rng.random(), rng.random() < self.action.mirror
        frames_THWC = torch.from_numpy(
            self.films.frames(example.clip, lambda n, rate: window(n, rate, start, self.views.frames, self.fps))
        )
        height, width = frames_THWC.shape[1:3]
        video_CTHW = crop(frames_THWC, random_box(rng, height, width, self.action.area), self.views.size)
        *factors, hue = rng.uniform(-1, 1, 4) * self.views.jitter
        jitter_4 = torch.tensor([*(max(0.0, 1 + factor) for factor in factors), hue], dtype=torch.float32)
        return video_CTHW.flip(-1) if mirror else video_CTHW, jitter_4


class DenseClips(Dataset[ActionBatch]):
    """Evenly spaced windows of test videos, from the first frames to the last ones; the middle of the picture."""

    def __init__(self, films: Films, videos: Sequence[ActionVideo], action: Action, views: Views, fps: float) -> None:
        self.films, self.videos, self.action, self.views, self.fps = films, videos, action, views, fps

    def __getitems__(self, examples: list[Example]) -> ActionBatch | Failure:
        try:
            video_NCTHW = torch.cat([self._clips(example.clip) for example in examples])
        except UserError as error:
            return Failure(str(error))
        videos = [self.videos[example.clip] for example in examples for _ in range(self.action.test_clips)]
        return ActionBatch(
            video_NCTHW=video_NCTHW,
            jitter_N4=torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(len(videos), 4),
            label_N=torch.tensor([video.label for video in videos]),
            ids=[video.name for video in videos],
        )

    def _clips(self, number: int) -> Tensor:
        T, starts = self.views.frames, dense_starts(self.action.test_clips)
        frames_THWC = torch.from_numpy(
            self.films.frames(
                number, lambda n, rate: [i for start in starts for i in window(n, rate, start, T, self.fps)]
            )
        )
        height, width = frames_THWC.shape[1:3]
        box = centre_box(height, width, self.action.centre)
        return torch.stack([crop(clip_THWC, box, self.views.size) for clip_THWC in frames_THWC.split(T)])


def dense_starts(clips: int) -> list[float]:
    """Where the windows of a test video lie (:func:`avsa.data.films.window`); one alone is in the middle."""
    return [0.5] if clips == 1 else [i / (clips - 1) for i in range(clips)]


Box = tuple[int, int, int, int]  # top, left, height, width in pixels


def random_box(rng: np.random.Generator, height: int, width: int, area: tuple[float, float]) -> Box:
    """A box of a random share of the picture's area, 3:4 to 4:3, anywhere in it; else the largest square inside."""
    for _ in range(TRIES):
        pixels = height * width * rng.uniform(*area)
        stretch = math.exp(rng.uniform(-math.log(STRETCH), math.log(STRETCH)))
        h, w = round(math.sqrt(pixels / stretch)), round(math.sqrt(pixels * stretch))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    return centre_box(height, width, 1.0)


def centre_box(height: int, width: int, share: float) -> Box:
    """The square in the middle whose side is a share of the shorter side."""
    side = max(1, round(share * min(height, width)))
    return (height - side) // 2, (width - side) // 2, side, side


def crop(frames_THWC: Tensor, box: Box, size: int) -> Tensor:
    """The box of uint8 frames as video_CTHW of size×size pixels, bilinear with antialiasing."""
    top, left, height, width = box
    cut_TCHW = frames_THWC[:, top : top + height, left : left + width].permute(0, 3, 1, 2).float()
    scaled = F.interpolate(cut_TCHW, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8).transpose(0, 1)
