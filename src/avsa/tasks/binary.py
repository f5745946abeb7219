"""AVC-Bin and AVSA-Bin: do this picture and this sound belong together? (paper, section 4.2)

A new head on frozen features decides between a clip's own sound and a wrong one. The tasks differ only in what is
wrong: ``avc-bin`` takes the sound of another video, ``avsa-bin`` the clip's own sound turned by a random yaw.

Shapes: R rows (clips × views), K viewpoints, D features, P pairs. Label 1 is a wrong pair, as in the published heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avsa.ambisonics.foa import yaw
from avsa.config import Binary
from avsa.errors import UserError
from avsa.models.heads import BinaryHead
from avsa.models.network import AVSANetwork
from avsa.tasks.interval import Accuracy, clustered_accuracy
from avsa.tasks.pretrain import encode

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.batch import Batch
    from avsa.data.views import Views

BinaryTask = Literal["avc-bin", "avsa-bin"]
Translation = Literal["none", "audio", "video", "concat", "parallel"]


@dataclass(frozen=True)
class Features:
    """Frozen features of R rows on the CPU; ``turned`` is the audio after a random yaw of the whole sound field."""

    video_RKD: Tensor
    audio_RKD: Tensor
    turned_RKD: Tensor
    clip_R: Tensor


@dataclass(frozen=True)
class Setting:
    """How many crops decide, and what the head sees of the translators."""

    crops: int
    translation: Translation

    def __str__(self) -> str:
        crops = f"{self.crops} crop{'s' if self.crops > 1 else ''}"
        return crops if self.translation == "none" else f"{crops}, translator"


@torch.no_grad()
def extract(
    network: AVSANetwork, batches: Iterable[Batch], views: Views, device: torch.device, seed: int, turned: bool
) -> Features:
    """Features of every row; ``turned`` also encodes the sound turned by a yaw uniform on the circle."""
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for batch in batches:
        batch = batch.to(device)
        video_NKCTHW, audio_NKCTM = views(batch)
        video_NKD, audio_NKD = encode(network, video_NKCTHW, audio_NKCTM)
        turned_NKD = audio_NKD
        if turned:
            angle_N = (torch.rand(len(batch.clip_N), generator=generator) * 2 - 1) * math.pi
            sound_NKCTM = views.audio(batch, turn_N44=yaw(angle_N).to(device))
            turned_NKD = network.audio(sound_NKCTM.flatten(0, 1)).unflatten(0, audio_NKD.shape[:2])
        parts.append(tuple(x.cpu() for x in (video_NKD.float(), audio_NKD.float(), turned_NKD.float(), batch.clip_N)))
    return Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


def wrong_audio(task: BinaryTask, features: Features, generator: torch.Generator) -> Tensor:
    """A wrong sound for every row, audio_RKD: turned, or of a row of another clip drawn at random."""
    if task == "avsa-bin":
        return features.turned_RKD
    clip_R = features.clip_R
    if len(clip_R.unique()) < 2:
        raise UserError("avc-bin needs clips of at least two videos: the split holds one")
    other_R = torch.randint(len(clip_R), clip_R.shape, generator=generator)
    while bool((same := clip_R[other_R] == clip_R).any()):
        other_R[same] = torch.randint(len(clip_R), (int(same.sum()),), generator=generator)
    return features.audio_RKD[other_R]


@torch.no_grad()
def head_input(network: AVSANetwork, video_PKD: Tensor, audio_PKD: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
    """(video, audio) sides of the head's input, P×K'×D'.

    ``audio`` puts the audio predicted from video on the video's side, ``video`` the video predicted from audio on the
    audio's side; ``concat`` joins both kinds of pair along the features, ``parallel`` along the crops.
    """
    video_PKD, audio_PKD = video_PKD[:, : setting.crops], audio_PKD[:, : setting.crops]
    if setting.translation == "none":
        return video_PKD, audio_PKD
    predicted_audio_PKD, predicted_video_PKD = network.translate(video_PKD, audio_PKD)
    if setting.translation == "audio":
        return predicted_audio_PKD, audio_PKD
    if setting.translation == "video":
        return video_PKD, predicted_video_PKD
    axis = 2 if setting.translation == "concat" else 1
    return torch.cat([predicted_audio_PKD, video_PKD], axis), torch.cat([audio_PKD, predicted_video_PKD], axis)


def evaluate(
    network: AVSANetwork,
    task: BinaryTask,
    setting: Setting,
    train: Features,
    test: Features,
    config: Binary,
    seed: int,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Accuracy:
    """Train a head on ``train`` and measure it on ``test``; one decision is the mean of the crops' logits.

    Wrong sounds of other videos are drawn anew in every epoch. The same seed gives the same figure.
    """
    network = network.cpu().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        video, _ = head_input(network, train.video_RKD[:1], train.audio_RKD[:1], setting)
        _, audio = head_input(network, train.video_RKD[:1], train.audio_RKD[:1], setting)
        head = BinaryHead(video.shape[-1], audio.shape[-1])
        optimiser = torch.optim.Adam(head.parameters(), lr=config.lr)
        right = head_input(network, train.video_RKD, train.audio_RKD, setting)
        for epoch in range(config.epochs):
            wrong = head_input(network, train.video_RKD, wrong_audio(task, train, generator), setting)
            total = 0.0
            order_R = torch.randperm(len(train.clip_R), generator=generator)
            for rows in order_R.split(config.batch):
                logits_PK2 = head(
                    torch.cat([right[0][rows], wrong[0][rows]]), torch.cat([right[1][rows], wrong[1][rows]])
                )
                label_P = torch.arange(2).repeat_interleave(len(rows))
                loss = F.cross_entropy(logits_PK2.flatten(0, 1), label_P.repeat_interleave(logits_PK2.shape[1]))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(rows)
            progress(epoch, total / len(order_R))
        head.eval()
        with torch.no_grad():
            kept = head(*head_input(network, test.video_RKD, test.audio_RKD, setting)).mean(1).argmax(1) == 0
            wrong = head_input(network, test.video_RKD, wrong_audio(task, test, generator), setting)
            refused = head(*wrong).mean(1).argmax(1) == 1
    return clustered_accuracy(torch.cat([kept, refused]), test.clip_R.repeat(2))
