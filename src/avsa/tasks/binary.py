"""AVC-Bin and AVSA-Bin: do this picture and this sound belong together? (paper, section 4.2)

A new head decides between a clip's own sound and a wrong one. The tasks differ only in what is wrong: ``avc-bin``
takes the sound of another recording, ``avsa-bin`` the clip's own sound turned by a random yaw. Half of the pairs are
wrong: a coin is right in 50 %.

Shapes: R rows (clips × views), K viewpoints, D features, P pairs, N rows of a batch. Label 1 is a wrong pair, as in the
published heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from avsa.ambisonics.foa import yaw
from avsa.errors import UserError
from avsa.models.encoder import Encoder, audio_features, video_features
from avsa.models.heads import BinaryHead
from avsa.tasks.interval import Accuracy, clustered_accuracy

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.batch import Batch
    from avsa.data.views import Views

BinaryTask = Literal["avc-bin", "avsa-bin"]
Translation = Literal["none", "audio", "video", "concat", "parallel"]
TOGETHER = 1024
"""Rows that translators and heads work on at a time where nothing is trained."""


@dataclass(frozen=True)
class Features:
    """Frozen features of R rows on the CPU; ``turned`` is the audio after a random yaw of the whole sound field."""

    video_RKD: Tensor
    audio_RKD: Tensor
    turned_RKD: Tensor
    source_R: Tensor  # which recording


@dataclass(frozen=True)
class Setting:
    """How many crops decide, and what the head sees of them.

    ``audio_only`` hides the picture: a control. By itself a wrong sound is as likely as a right one (it is the right
    one of another pair; or it is turned by a yaw, where viewpoints are uniform on the circle anyway), so that more than
    50 % would mean that the pairs, not the networks, give the answer away.
    """

    crops: int
    translation: Translation = "none"
    audio_only: bool = False
    fine_tuned: bool = False  # the whole network was trained, not the head alone

    def __str__(self) -> str:
        parts = {
            f"{self.crops} crop{'s' if self.crops > 1 else ''}": True,
            "translator" if self.translation == "concat" else f"translator ({self.translation})": (
                self.translation != "none"
            ),
            "audio only": self.audio_only,
            "fine-tuned": self.fine_tuned,
        }
        return ", ".join(part for part, said in parts.items() if said)

    @property
    def key(self) -> str:
        """The same in the name of a metric."""
        return re.sub(r"\W+", "-", str(self)).strip("-")


@dataclass(frozen=True)
class Sides:
    """The two sides of a head's input, R×K'×D'. A row of the one makes a pair with any row of the other."""

    video_RKD: Tensor
    audio_RKD: Tensor
    turned_RKD: Tensor
    source_R: Tensor

    def where(self, chosen_R: Tensor) -> Sides:
        """The rows that a mask chooses."""
        columns = (self.video_RKD, self.audio_RKD, self.turned_RKD, self.source_R)
        return Sides(*(column[chosen_R] for column in columns))


def random_yaws(rows: int, generator: torch.Generator | None = None) -> Tensor:
    """Channel matrices N44 of yaws uniform on the circle."""
    return yaw((torch.rand(rows, generator=generator) * 2 - 1) * math.pi)


@torch.no_grad()
def extract(encoder: Encoder, batches: Iterable[Batch], views: Views, device: torch.device, seed: int) -> Features:
    """Features of every row, also of its sound turned by a yaw; the same seed turns by the same yaws."""
    encoder.eval()
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for batch in batches:
        batch = batch.to(device)
        turn_N44 = random_yaws(len(batch.source_N), generator).to(device)
        rows = batch.azimuth_NK.shape
        video_NKD = video_features(encoder, views.video(batch).flatten(0, 1)).unflatten(0, rows)
        audio_NKD, turned_NKD = (
            audio_features(encoder, views.audio(batch, turn).flatten(0, 1)).unflatten(0, rows)
            for turn in (None, turn_N44)
        )
        parts.append((video_NKD.float().cpu(), audio_NKD.float().cpu(), turned_NKD.float().cpu(), batch.source_N.cpu()))
    return Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


def head_input(encoder: Encoder, video_PKD: Tensor, audio_PKD: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    """(video, audio) sides of the head's input, P×K'×D'; one depends on the pictures alone, one on the sounds.

    ``audio`` puts the audio predicted from video on the video's side, ``video`` the video predicted from audio on the
    audio's side; ``concat`` joins both kinds of pair along the features, ``parallel`` along the crops.
    """
    video_PKD, audio_PKD = video_PKD[:, : setting.crops], audio_PKD[:, : setting.crops]
    if setting.audio_only:
        return video_PKD[..., :0].detach(), audio_PKD
    if setting.translation == "none":
        return video_PKD, audio_PKD
    predicted_audio_PKD, predicted_video_PKD = encoder.translate(video_PKD, audio_PKD)
    if setting.translation == "audio":
        return predicted_audio_PKD, audio_PKD
    if setting.translation == "video":
        return video_PKD, predicted_video_PKD
    axis = 2 if setting.translation == "concat" else 1
    return torch.cat([predicted_audio_PKD, video_PKD], axis), torch.cat([audio_PKD, predicted_video_PKD], axis)


@torch.no_grad()
def sides(encoder: Encoder, features: Features, setting: Setting, device: torch.device) -> Sides:
    """What a head sees of frozen features, on the CPU."""
    encoder.eval()
    columns = (features.video_RKD, features.audio_RKD, features.turned_RKD)
    parts = []
    for part in zip(*(column.split(TOGETHER) for column in columns), strict=True):
        video, audio, turned = (x.to(device) for x in part)
        video_side, audio_side = head_input(encoder, video, audio, setting)
        turned_side = head_input(encoder, video, turned, setting)[1]
        parts.append((video_side.cpu(), audio_side.cpu(), turned_side.cpu()))
    video_RKD, audio_RKD, turned_RKD = (torch.cat(column) for column in zip(*parts, strict=True))
    return Sides(video_RKD, audio_RKD, turned_RKD, features.source_R)


def build_head(video_dim: int, audio_dim: int) -> BinaryHead:
    """The published head; without a video's side as wide as the audio's."""
    return BinaryHead(video_dim, audio_dim, hidden=video_dim or audio_dim)


def wrong_audio(task: BinaryTask, pairs: Sides, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A wrong sound for every row: (audio_RKD, row_R), of which row i takes audio_RKD[row_R[i]].

    Its own, turned; or one of another recording, of which every row is as likely as any other.
    """
    source_R = pairs.source_R
    if task == "avsa-bin":
        return pairs.turned_RKD, torch.arange(len(source_R))
    if len(source_R.unique()) < 2:
        raise UserError("avc-bin needs clips of at least two recordings: the split holds one")
    other_R = torch.randint(len(source_R), source_R.shape, generator=generator)
    while bool((same := source_R[other_R] == source_R).any()):
        other_R[same] = torch.randint(len(source_R), (int(same.sum()),), generator=generator)
    return pairs.audio_RKD, other_R


@dataclass(frozen=True)
class Score:
    """Of a head on a split: one decision per pair from the mean of the crops' logits, and one by each crop alone."""

    accuracy: Accuracy
    accuracy_crop: Accuracy


@torch.no_grad()
def score(
    head: BinaryHead, task: BinaryTask, pairs: Sides, setting: Setting, generator: torch.Generator, device: torch.device
) -> Score:
    """Right and wrong pairs of every row; intervals take the decisions on one recording for one cluster."""
    head.eval()
    rows_R = torch.arange(len(pairs.source_R))
    right_PK, right_P = [], []
    for label, (audio_RKD, audio_R) in enumerate([(pairs.audio_RKD, rows_R), wrong_audio(task, pairs, generator)]):
        for rows in rows_R.split(TOGETHER):
            logits_PK2 = head(pairs.video_RKD[rows].to(device), audio_RKD[audio_R[rows]].to(device)).cpu()
            right_P.append(logits_PK2.mean(1).argmax(1) == label)
            # Of a crop's several pairs ("parallel") the mean decides for it.
            logits_PK2 = logits_PK2.unflatten(1, (-1, setting.crops)).mean(1)
            right_PK.append(logits_PK2.argmax(2) == label)
    source_P = pairs.source_R.repeat(2)
    by_crop = clustered_accuracy(torch.cat(right_PK).flatten(), source_P.repeat_interleave(setting.crops))
    return Score(clustered_accuracy(torch.cat(right_P), source_P), by_crop)
