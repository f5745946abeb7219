"""Semantic segmentation: what is at every pixel of a crop? (paper, section 4.3)

A new head on the maps of a frozen video network labels the crop. It may also be told what is heard from there, and what
the translators make of all K viewpoints together. All heads learn from the same crops, side by side.

Shapes: N rows, K viewpoints, B = N·K crops, C classes or channels, T time, H×W pixels, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsa.config import Segmentation, SegmentationInput
from avsa.errors import UserError
from avsa.models.encoder import Encoder, audio_features, require, video_features
from avsa.models.fpn import FPNHead
from avsa.tasks.iou import Tally

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.labels import LabelledBatch
    from avsa.data.views import Views

IGNORE = 255
"""As `avsa.data.labels` has it."""

Precision = Callable[[], AbstractContextManager[object]]
NEEDS: Mapping[SegmentationInput, tuple[str, ...]] = {
    "video": ("video_maps",),
    "video+audio": ("video_maps", "audio", "audio_dim"),
    "video+audio+context": ("video_maps", "audio", "audio_dim", "video", "video_dim", "translate"),
    "end-to-end": ("video_maps",),
}
"""What an encoder must have."""


@dataclass(frozen=True)
class Crops:
    """B crops as a frozen network sees them; what no head asks for is None."""

    maps_BTHWC: tuple[Tensor, ...]  # finest first; channels last, as they lie in memory
    audio_BD: Tensor | None
    context: tuple[Tensor, Tensor] | None  # audio predicted from video, video predicted from audio, each BD
    video_BCTHW: Tensor | None
    target_BHW: Tensor  # uint8
    recording_B: Tensor

    @property
    def maps(self) -> list[Tensor]:
        """maps_BCTHW, finest first."""
        return [x_BTHWC.permute(0, 4, 1, 2, 3) for x_BTHWC in self.maps_BTHWC]

    def tensors(self) -> list[Tensor]:
        """Everything that takes memory."""
        found = [*self.maps_BTHWC, self.audio_BD, *(self.context or ()), self.video_BCTHW, self.target_BHW]
        return [x for x in found if x is not None]


@torch.no_grad()
def encode(encoder: Encoder, views: Views, batch: LabelledBatch, inputs: Sequence[SegmentationInput]) -> Crops:
    """What the heads of these inputs need of a batch.

    Raises:
        UserError: the encoder does not offer it.
    """
    for name in inputs:
        require(encoder, f"segmentation from {name}", *NEEDS[name])
    encoder.eval()
    video_NKCTHW = views.video(batch)
    rows, video_BCTHW = video_NKCTHW.shape[:2], video_NKCTHW.flatten(0, 1)
    maps_BTHWC = tuple(x.permute(0, 2, 3, 4, 1).contiguous() for x in encoder.video_maps(video_BCTHW))
    audio_BD, context = None, None
    if any("audio" in name for name in inputs):
        audio_BD = audio_features(encoder, views.audio(batch).flatten(0, 1))
        if "video+audio+context" in inputs:
            video_NKD = video_features(encoder, video_BCTHW).unflatten(0, rows)
            from_video_NKD, from_audio_NKD = encoder.translate(video_NKD, audio_BD.unflatten(0, rows))
            context = from_video_NKD.flatten(0, 1), from_audio_NKD.flatten(0, 1)
    target_BHW = batch.crops(views.views).flatten(0, 1)
    recording_B = batch.source_N.repeat_interleave(rows[1])
    return Crops(
        maps_BTHWC, audio_BD, context, video_BCTHW if "end-to-end" in inputs else None, target_BHW, recording_B
    )


def conditioning(crops: Crops, name: SegmentationInput) -> Tensor | None:
    """The vector that a head is told besides the maps, in the order of the published heads."""
    if name == "video+audio":
        return crops.audio_BD
    if name == "video+audio+context":
        assert crops.audio_BD is not None
        assert crops.context is not None
        return torch.cat([crops.context[0], crops.audio_BD, crops.context[1]], dim=1)
    return None


class Segmenter(nn.Module):
    """A head and what it is told; `end-to-end` has a video network of its own, which is trained too.

    Args:
        example: decides the shapes of the head.
    """

    def __init__(
        self, name: SegmentationInput, encoder: Encoder, example: Crops, classes: int, config: Segmentation
    ) -> None:
        super().__init__()
        self.name = name
        self.encoder = copy.deepcopy(encoder) if name == "end-to-end" else None
        self.requires_grad_(True)  # all of it, also what the encoder keeps frozen
        told = conditioning(example, name)
        self.fpn = FPNHead(
            channels=[x.shape[1] for x in example.maps],
            steps=[x.shape[2] for x in example.maps],
            conditioning=0 if told is None else told.shape[1],
            classes=classes,
            dim=config.dim,
            branch=config.branch,
        )

    def forward(self, crops: Crops) -> Tensor:
        """logits_BCHW at the size of the target, float32."""
        maps = crops.maps
        if self.encoder is not None:
            assert crops.video_BCTHW is not None
            maps = self.encoder.video_maps(crops.video_BCTHW)
        logits = self.fpn(maps, conditioning(crops, self.name)).float()
        return F.interpolate(logits, size=crops.target_BHW.shape[1:], mode="bilinear", align_corners=False)


def build(
    inputs: Sequence[SegmentationInput], encoder: Encoder, example: Crops, classes: int, config: Segmentation, seed: int
) -> dict[SegmentationInput, Segmenter]:
    """A segmenter for every input, on the encoder's device; the same seed gives the same weights."""
    segmenters: dict[SegmentationInput, Segmenter] = {}
    with torch.random.fork_rng(devices=[]):
        for name in inputs:
            torch.manual_seed(seed)
            segmenters[name] = Segmenter(name, encoder, example, classes, config).to(example.target_BHW.device)
    return segmenters


def train(
    segmenters: Mapping[SegmentationInput, Segmenter],
    epoch_of: Callable[[int], Iterable[Crops]],
    config: Segmentation,
    log: Callable[[Mapping[str, float], int], None] = lambda losses, epoch: None,
    precision: Precision = nullcontext,
    state: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda state: None,
) -> None:
    """Train every segmenter on the crops of each epoch by cross-entropy: Adam, learning rate × 0.1 at the milestones.

    Args:
        log: gets each one's mean loss after every epoch.
        precision: the context of its forward passes.
        state: what `keep` got last in a training that was interrupted: this one goes on from there.
        keep: gets the segmenters' and optimisers' state after every epoch.

    Raises:
        UserError: a loss is not finite.
    """
    optimisers = {
        name: torch.optim.Adam(segmenter.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        for name, segmenter in segmenters.items()
    }
    done = 0
    if state:
        done = state["epochs"]
        for name, segmenter in segmenters.items():
            segmenter.load_state_dict(state["segmenters"][name])
            optimisers[name].load_state_dict(state["optimisers"][name])
    for epoch in range(done, config.epochs):
        for group in (group for optimiser in optimisers.values() for group in optimiser.param_groups):
            group["lr"] = config.lr * 0.1 ** sum(epoch >= milestone for milestone in config.milestones)
        totals, steps = dict.fromkeys(segmenters, 0.0), 0
        for crops in epoch_of(epoch):
            if bool((crops.target_BHW == IGNORE).all()):
                continue
            steps += 1
            for name, segmenter in segmenters.items():
                segmenter.train()
                with precision():
                    logits_BCHW = segmenter(crops)
                loss = F.cross_entropy(logits_BCHW, crops.target_BHW.long(), ignore_index=IGNORE)
                optimisers[name].zero_grad()
                loss.backward()
                optimisers[name].step()
                totals[name] += loss.item()
                if not totals[name] < float("inf"):
                    raise UserError(f"segmentation from {name}: loss {loss.item()} in epoch {epoch}: lower the lr")
        log({name: total / max(steps, 1) for name, total in totals.items()}, epoch)
        heads = {name: segmenter.state_dict() for name, segmenter in segmenters.items()}
        moments = {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
        keep({"epochs": epoch + 1, "segmenters": heads, "optimisers": moments})


@torch.no_grad()
def predict(segmenter: Segmenter, crops: Crops) -> Tensor:
    """The most probable class of every pixel, predicted_BHW."""
    segmenter.eval()
    return segmenter(crops).argmax(1)  # type: ignore[no-any-return]


def score(
    segmenters: Mapping[SegmentationInput, Segmenter], crops: Iterable[Crops], recordings: int, classes: int
) -> dict[SegmentationInput, Tally]:
    """What every segmenter gets right on the same crops."""
    tallies = {name: Tally.empty(recordings, classes) for name in segmenters}
    for some in crops:
        for name, segmenter in segmenters.items():
            tallies[name] = tallies[name].add(some.target_BHW, predict(segmenter, some), some.recording_B, IGNORE)
    return tallies
