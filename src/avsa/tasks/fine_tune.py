"""A binary task by training the whole network, not a head alone.

Shapes: N rows of a batch, K viewpoints, D features, P = 2·N pairs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsa.errors import UserError
from avsa.models.encoder import Encoder, audio_features, video_features
from avsa.models.heads import BinaryHead
from avsa.tasks.binary import BinaryTask, Setting, build_head, head_input, random_yaws

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.batch import Batch
    from avsa.data.views import Views


class Judge(nn.Module):
    """An encoder and the head of a setting."""

    def __init__(self, encoder: Encoder, head: BinaryHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head


class FineTuneTask:
    """A copy of the encoder under a binary task; satisfies the engine's task protocol.

    Args:
        example: a batch of training clips, on the encoder's device; it shows which parameters the loss reaches.
        seed: of the head's weights.
    """

    def __init__(
        self, encoder: Encoder, task: BinaryTask, setting: Setting, views: Views, example: Batch, seed: int
    ) -> None:
        self.task, self.setting, self.views = task, setting, views
        encoder = copy.deepcopy(encoder).eval()
        with torch.no_grad():
            video_side, audio_side = self._sides(encoder, example)[:2]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            head = build_head(video_side.shape[-1], audio_side.shape[-1])
        self.model = Judge(encoder, head.to(video_side.device)).eval()
        parameters = list(self.model.requires_grad_(True).parameters())  # those too that the encoder keeps frozen
        gradients = torch.autograd.grad(self.step(example)[0], parameters, allow_unused=True)
        self._trained = [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]

    def trained(self) -> Iterator[nn.Parameter]:
        """What the loss reaches: without projection heads, and without translators where the setting has none."""
        return iter(self._trained)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, metrics) of the batch's own pairs and as many wrong ones: cross-entropy of every crop, accuracy."""
        video_NKD, audio_NKD, wrong_NKD = self._sides(self.model.encoder, batch)
        logits_PK2 = self.model.head(video_NKD.repeat(2, 1, 1), torch.cat([audio_NKD, wrong_NKD]))
        label_P = torch.arange(2, device=logits_PK2.device).repeat_interleave(len(video_NKD))
        label_PK = label_P.repeat_interleave(logits_PK2.shape[1])
        loss = F.cross_entropy(logits_PK2.flatten(0, 1), label_PK)
        accuracy = (logits_PK2.detach().mean(1).argmax(1) == label_P).float().mean()
        return loss, {"accuracy": accuracy}

    def _sides(self, encoder: Encoder, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the head sees: of the pictures, of their own sounds, of wrong ones."""
        rows = batch.azimuth_NK.shape
        video_NKD = video_features(encoder, self.views.video(batch).flatten(0, 1)).unflatten(0, rows)
        audio_NKCTM = self.views.audio(batch)
        if self.task == "avsa-bin":
            turn_N44 = random_yaws(rows[0]).to(audio_NKCTM.device)
            audio_NKCTM = torch.cat([audio_NKCTM, self.views.audio(batch, turn_N44)])
        heard = audio_features(encoder, audio_NKCTM.flatten(0, 1)).unflatten(0, (-1, rows[1]))
        audio_NKD = heard[: rows[0]]
        wrong_NKD = heard[rows[0] :] if self.task == "avsa-bin" else audio_NKD[_others(batch.source_N)]
        video_side, audio_side = head_input(encoder, video_NKD, audio_NKD, self.setting)
        return video_side, audio_side, head_input(encoder, video_NKD, wrong_NKD, self.setting)[1]


def _others(source_N: Tensor) -> Tensor:
    """For every row one of another recording of the batch, each as likely as any other."""
    other_NN = source_N[:, None] != source_N
    if not bool(other_NN.any(1).all()):
        raise UserError("avc-bin needs batches of at least two recordings: raise evaluate.binary.batch")
    return torch.multinomial(other_NN.float().cpu(), 1)[:, 0].to(source_N.device)
