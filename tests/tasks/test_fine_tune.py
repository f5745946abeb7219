"""Fine-tuning on a binary task: its loss by hand, what is trained, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_binary import AUDIO, RATE, VIEWS, batch
from torch import Tensor, nn
from torch.nn import functional as F

from avsa.ambisonics.foa import rotate, yaw
from avsa.data.batch import Batch
from avsa.data.views import Views
from avsa.errors import UserError
from avsa.models.network import AVSANetwork, NetworkSpec, build_network
from avsa.tasks.binary import BinaryTask, Setting, Translation
from avsa.tasks.fine_tune import FineTuneTask


class Linear(nn.Module):
    """An encoder of two linear maps of standardised inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.video_dim, self.audio_dim = 64, 63
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.see = nn.Linear(3 * VIEWS.frames * VIEWS.size**2, 64)
            self.hear = nn.Linear(7 * 25 * AUDIO.mels, 63)

    def video(self, video_BCTHW: Tensor) -> Tensor:
        out: Tensor = self.see(F.layer_norm(video_BCTHW.flatten(1), [self.see.in_features]))
        return out

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        out: Tensor = self.hear(F.layer_norm(audio_BCTM.flatten(1), [self.hear.in_features]))
        return out


def tuned(task: BinaryTask, setting: Setting, example: Batch, encoder: Any = None, seed: int = 0) -> FineTuneTask:
    encoder = encoder if encoder else Linear()
    return FineTuneTask(encoder, task, setting, Views(VIEWS, AUDIO, RATE), example, seed)


@pytest.mark.parametrize("task", ["avc-bin", "avsa-bin"])
def test_the_loss_by_hand(task: BinaryTask) -> None:
    example, views = batch(0, 2, seed=1), Views(VIEWS, AUDIO, RATE)
    found = tuned(task, Setting(2), example)
    assert not found.model.training  # until the loop says so
    torch.manual_seed(5)
    loss, metrics = found.step(example)

    video_NKCTHW, audio_NKCTM = views(example)
    if task == "avsa-bin":
        torch.manual_seed(5)
        angle_N = (torch.rand(2) * 2 - 1) * math.pi
        turned = {**vars(example), "foa_NCS": rotate(example.foa_NCS, yaw(angle_N))}
        wrong_NKCTM = views.audio(Batch(**turned))
    else:
        wrong_NKCTM = audio_NKCTM.flip(0)  # of two recordings, the other one
    losses, right = [], []
    for label, sounds in enumerate((audio_NKCTM, wrong_NKCTM)):
        for row in range(2):
            logits = []
            for crop in range(2):
                video_1D = found.model.encoder.video(video_NKCTHW[row, crop][None])
                audio_1D = found.model.encoder.audio(sounds[row, crop][None])
                logits.append(found.model.head(video_1D, audio_1D)[0])
                losses.append(-F.log_softmax(logits[-1], 0)[label])
            right.append(float(torch.stack(logits).mean(0).argmax() == label))
    torch.testing.assert_close(loss, torch.stack(losses).mean(), atol=1e-3, rtol=1e-3)
    assert float(metrics["accuracy"]) == pytest.approx(sum(right) / 4)


PARTS: dict[Translation | str, set[str]] = {
    "none": {"video_model", "audio_model"},
    "audio": {"video_model", "audio_model", "v2a_transformer"},
    "video": {"video_model", "audio_model", "a2v_transformer"},
    "concat": {"video_model", "audio_model", "v2a_transformer", "a2v_transformer"},
    "audio only": {"audio_model"},
}


@pytest.mark.parametrize("case", PARTS)
def test_what_the_loss_reaches_is_trained(case: Any) -> None:
    network: AVSANetwork = build_network(NetworkSpec(10, 1 / 16, 1 / 16, 7), seed=0)
    setting = Setting(2, audio_only=True) if case == "audio only" else Setting(2, case)
    found = tuned("avsa-bin", setting, batch(0, 2, seed=1), network)
    names = {id(parameter): name for name, parameter in found.model.named_parameters()}
    parts = {names[id(parameter)].split(".")[1] for parameter in found.trained()}
    assert parts == PARTS[case] | {"classifier"}
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for parameter in found.trained():
        with torch.no_grad():
            parameter.add_(1.0)
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))  # a copy


def test_what_an_encoder_keeps_frozen_is_trained_too() -> None:
    encoder = Linear().requires_grad_(False)
    found = tuned("avc-bin", Setting(1), batch(0, 2, seed=1), encoder)
    assert {id(parameter) for parameter in found.model.encoder.parameters()} <= {id(one) for one in found.trained()}
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("task", ["avc-bin", "avsa-bin"])
def test_it_learns_its_clips(task: BinaryTask) -> None:
    example = batch(0, 4, seed=2)
    found = tuned(task, Setting(2), example)
    optimiser = torch.optim.Adam(found.trained(), lr=3e-4)
    losses = []
    for _ in range(150):
        torch.manual_seed(1)  # the same yaws, the same partners
        loss, metrics = found.step(example)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.5
    assert losses[-1] < 0.4
    assert float(metrics["accuracy"]) > 0.8


def test_the_head_is_of_the_seed() -> None:
    example = batch(0, 2, seed=1)
    torch.manual_seed(8)
    first, again, other = (tuned("avc-bin", Setting(1), example, seed=seed).model.head for seed in (1, 1, 2))
    weights = [next(head.parameters()) for head in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_batch_of_one_recording_has_no_other_sound() -> None:
    with pytest.raises(UserError, match=r"batches of at least two recordings: raise evaluate.binary.batch"):
        tuned("avc-bin", Setting(1), batch(0, 1, seed=1))
