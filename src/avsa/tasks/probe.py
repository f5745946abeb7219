"""A head of a binary task on frozen features: its training, and the choice of its learning rate.

Shapes: R rows (clips × views), K viewpoints, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from avsa.config import Binary
from avsa.errors import UserError
from avsa.models.encoder import Encoder
from avsa.models.heads import BinaryHead
from avsa.tasks.binary import BinaryTask, Features, Score, Setting, Sides, build_head, score, sides, wrong_audio


@dataclass(frozen=True)
class Probe:
    """How a head did on the test features, and the learning rate that it was trained with."""

    score: Score
    lr: float


def probe(
    encoder: Encoder,
    task: BinaryTask,
    setting: Setting,
    train: Features,
    test: Features,
    config: Binary,
    seed: int,
    device: torch.device,
) -> Probe:
    """Train a head on ``train`` and measure it on ``test``; the same seed gives the same figure.

    Of several learning rates, the one is taken whose head does best on held-out recordings of the training features;
    the head is then trained on all of them, so that the figure is that of this learning rate alone.

    Raises:
        UserError: too few recordings.
    """
    known = sides(encoder, train, setting, device)
    lr = config.lr[0] if len(config.lr) == 1 else _choose(task, setting, known, config, seed, device)
    unknown = sides(encoder, test, setting, device)
    return Probe(_measure(task, setting, known, unknown, config, lr, seed, device), lr)


def held_out(source_R: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """Mask over the rows of a random share of the recordings: at least one and not all.

    Raises:
        UserError: one recording only.
    """
    source = source_R.unique()
    if len(source) < 2:
        raise UserError("several learning rates need training clips of at least two recordings: the split holds one")
    count = min(max(1, round(share * len(source))), len(source) - 1)
    chosen = source[torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[:count]]
    return torch.isin(source_R, chosen)


def _choose(task: BinaryTask, setting: Setting, known: Sides, config: Binary, seed: int, device: torch.device) -> float:
    held_R = held_out(known.source_R, config.val_share, seed)
    rest, held = known.where(~held_R), known.where(held_R)
    found = {lr: _measure(task, setting, rest, held, config, lr, seed, device).accuracy.value for lr in config.lr}
    return max(found, key=lambda lr: found[lr])


def _measure(
    task: BinaryTask,
    setting: Setting,
    train: Sides,
    test: Sides,
    config: Binary,
    lr: float,
    seed: int,
    device: torch.device,
) -> Score:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = train_head(task, train, config, lr, generator, device)
    return score(head, task, test, setting, generator, device)


def train_head(
    task: BinaryTask, pairs: Sides, config: Binary, lr: float, generator: torch.Generator, device: torch.device
) -> BinaryHead:
    """Adam on the cross-entropy of every crop. Wrong sounds of other recordings are drawn anew in every epoch."""
    head = build_head(pairs.video_RKD.shape[-1], pairs.audio_RKD.shape[-1]).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=lr)
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.1 ** sum(epoch >= milestone for milestone in config.milestones)
        wrong_RKD, wrong_R = wrong_audio(task, pairs, generator)
        order_R = torch.randperm(len(pairs.source_R), generator=generator)
        for rows in order_R.split(config.batch):
            video_PKD = pairs.video_RKD[rows].repeat(2, 1, 1).to(device)
            audio_PKD = torch.cat([pairs.audio_RKD[rows], wrong_RKD[wrong_R[rows]]]).to(device)
            logits_PK2 = head(video_PKD, audio_PKD)
            label_PK = torch.arange(2, device=device).repeat_interleave(len(rows) * logits_PK2.shape[1])
            loss = F.cross_entropy(logits_PK2.flatten(0, 1), label_PK)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return head
