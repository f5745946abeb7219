"""The binary tasks: pairs, head inputs, and figures where the right answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avsa import config
from avsa.ambisonics.foa import rotate, yaw
from avsa.data.batch import Batch
from avsa.data.views import Views
from avsa.errors import UserError
from avsa.models.network import AVSANetwork, NetworkSpec, build_network
from avsa.tasks.binary import BinaryTask, Features, Setting, Translation, evaluate, extract, head_input, wrong_audio

K, D = 4, 32  # a network of width 1/16 has 32 features


@pytest.fixture(scope="module")
def network() -> AVSANetwork:
    return build_network(NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16), seed=0).eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(clips: int, views: int, seed: int) -> Features:
    """Independent noise everywhere: nothing tells a right pair from a wrong one."""
    R = clips * views
    video, audio, turned = draw(3, R, K, D, seed=seed)
    return Features(video, audio, turned, torch.arange(clips).repeat(views))


# Wrong pairs


def test_wrong_sounds_come_from_every_other_clip_alike() -> None:
    clip_R = torch.tensor([0] * 12 + [1, 2, 3, 3])  # one clip has most of the rows
    audio_RKD = clip_R[:, None, None].expand(-1, K, 2).float()
    known = Features(audio_RKD, audio_RKD, audio_RKD, clip_R)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([wrong_audio("avc-bin", known, generator)[:, 0, 0] for _ in range(3000)])
    assert not (drawn == clip_R).any()
    share = [float((drawn[:, 13] == clip).float().mean()) for clip in (0, 1, 3)]  # seen from clip 2
    assert share == pytest.approx([12 / 15, 1 / 15, 2 / 15], abs=0.03)


def test_wrong_sounds_are_drawn_anew_and_whole() -> None:
    known, generator = features(50, 2, seed=1), torch.Generator().manual_seed(0)
    first, second = (wrong_audio("avc-bin", known, generator) for _ in range(2))
    assert not torch.equal(first, second)
    again = wrong_audio("avc-bin", known, torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
    assert all(any(torch.equal(row, other) for other in known.audio_RKD) for row in first)
    assert torch.equal(wrong_audio("avsa-bin", known, generator), known.turned_RKD)


def test_one_clip_has_no_other() -> None:
    with pytest.raises(UserError, match="at least two videos"):
        wrong_audio("avc-bin", features(1, 5, seed=0), torch.Generator())


# What the head sees

PREDICTED: dict[Translation, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "none": lambda video, audio, from_video, from_audio: (video, audio),
    "audio": lambda video, audio, from_video, from_audio: (from_video, audio),
    "video": lambda video, audio, from_video, from_audio: (video, from_audio),
    "concat": lambda video, audio, from_video, from_audio: (
        torch.cat([from_video, video], 2),
        torch.cat([audio, from_audio], 2),
    ),
    "parallel": lambda video, audio, from_video, from_audio: (
        torch.cat([from_video, video], 1),
        torch.cat([audio, from_audio], 1),
    ),
}


@pytest.mark.parametrize("translation", PREDICTED)
@pytest.mark.parametrize("crops", [1, 3])
def test_head_inputs(network: AVSANetwork, translation: Translation, crops: int) -> None:
    video_PKD, audio_PKD = draw(2, 5, K, D)
    found = head_input(network, video_PKD, audio_PKD, Setting(crops, translation))
    video, audio = video_PKD[:, :crops], audio_PKD[:, :crops]  # the translators see no more crops than decide
    with torch.no_grad():
        from_video, from_audio = network.v2a_transformer(video), network.a2v_transformer(audio)
    expected = PREDICTED[translation](video, audio, from_video, from_audio)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


# Figures


def judge(
    network: AVSANetwork,
    task: BinaryTask,
    train: Features,
    test: Features,
    crops: int = 1,
    seed: int = 0,
    epochs: int = 10,
    lr: float = 3e-3,
) -> tuple[float, float, float, int]:
    found = evaluate(network, task, Setting(crops, "none"), train, test, config.Binary(epochs=epochs, lr=lr), seed=seed)
    return found.value, found.low, found.high, found.n


def shifted(clips: int, seed: int, distance: float) -> Features:
    """The turned sound differs from the right one by ``distance`` standard deviations in one feature of each crop."""
    noise = features(clips, 1, seed)
    audio_RKD, turned_RKD = noise.audio_RKD[..., :1].clone(), noise.turned_RKD[..., :1].clone()
    return Features(torch.zeros(clips, K, 8), audio_RKD + distance / 2, turned_RKD - distance / 2, noise.clip_R)


def test_separable_features_are_told_apart(network: AVSANetwork) -> None:
    value, low, _, n = judge(network, "avsa-bin", shifted(300, 1, 12.0), shifted(200, 2, 12.0), epochs=20)
    assert n == 400
    assert value > 99
    assert low > 97


def test_noise_is_a_coin_flip(network: AVSANetwork) -> None:
    for task in ("avc-bin", "avsa-bin"):
        value, low, high, n = judge(network, task, features(200, 2, 1), features(400, 2, 2), crops=K)
        assert n == 1600
        assert low < 50 < high
        assert low < value < high


@pytest.mark.parametrize(("crops", "best"), [(1, 1.0), (4, 2.0)])
def test_crops_add_up_to_what_theory_says(network: AVSANetwork, crops: int, best: float) -> None:
    """Gaussians 2 apart: the best accuracy is Φ(1) for one crop and, for the mean over four, Φ(2)."""
    value, low, high, _ = judge(network, "avsa-bin", shifted(600, 3, 2.0), shifted(1500, 4, 2.0), crops=crops)
    optimum = 50 * (1 + math.erf(best / math.sqrt(2)))
    assert low - 0.5 <= optimum <= high + 1
    assert value == pytest.approx(optimum, abs=1.6)


def test_agreement_of_one_bit_gives_three_quarters(network: AVSANetwork) -> None:
    """Picture and sound of a clip carry the same sign; so does every second wrong pair, which nobody can tell."""

    def signs(clips: int, seed: int) -> Features:
        sign = draw(clips, seed=seed).sign()[:, None, None].expand(-1, K, 16)
        return Features(
            sign + 0.1 * draw(clips, K, 16, seed=seed + 1), sign + 0.1 * draw(clips, K, 16, seed=seed + 2),
            sign, torch.arange(clips),
        )  # fmt: skip

    value, low, high, _ = judge(network, "avc-bin", signs(400, 1), signs(600, 5), epochs=30)
    assert low < 75 < high
    assert value == pytest.approx(75, abs=2.5)


def test_same_seed_same_figure(network: AVSANetwork) -> None:
    train, test = shifted(100, 5, 1.0), shifted(150, 6, 1.0)
    torch.manual_seed(1)
    first = judge(network, "avc-bin", train, test, epochs=2)
    after = torch.rand(1)
    torch.manual_seed(2)
    assert judge(network, "avc-bin", train, test, epochs=2) == first
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the global generator is as it was
    assert judge(network, "avc-bin", train, test, seed=1, epochs=2) != first


# Features

VIEWS = config.Views(size=24, frames=3, audio_s=0.5, crops=2)
AUDIO = config.Audio(kind="ambisonics+intensity", mels=16, window=256, hop=160)
RATE = 8000


def batch(first_clip: int, rows: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    crops = VIEWS.crops
    return Batch(
        y_NTHW=uniform(0, 255, rows, 3, 32, 64).byte(),
        uv_NT2hw=uniform(0, 255, rows, 3, 2, 16, 32).byte(),
        rgb_N34=torch.tensor([[1.0, 0, 1.4, -0.7], [1.0, -0.3, -0.7, 0.5], [1.0, 1.8, 0, -0.9]]).expand(rows, 3, 4),
        foa_NCS=uniform(-0.5, 0.5, rows, 4, RATE // 2).cumsum(-1) * 0.01,
        azimuth_NK=uniform(-math.pi, math.pi, rows, crops),
        elevation_NK=uniform(-1, 1, rows, crops),
        fov_NK=uniform(0.8, 1.5, rows, crops),
        aspect_NK=torch.ones(rows, crops),
        mirror_NK=uniform(0, 1, rows, crops) < 0.5,
        jitter_NK4=torch.tensor([1.0, 1, 1, 0]).expand(rows, crops, 4),
        gain_N=uniform(0.9, 1.1, rows),
        clip_N=torch.arange(first_clip, first_clip + rows),
        source_N=torch.arange(first_clip, first_clip + rows),
        moment_N=torch.zeros(rows, dtype=torch.int64),
        ids=[f"clip-{first_clip + row}" for row in range(rows)],
    )


class Transparent(nn.Module):
    """Shows what the encoders are given."""

    def video(self, video_BCTHW: Tensor) -> Tensor:
        return video_BCTHW.flatten(1)

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        return audio_BCTM.flatten(1)


def test_turned_features_are_those_of_turned_sound() -> None:
    network: Any = Transparent().train()
    views = Views(VIEWS, AUDIO, RATE)
    batches = [batch(0, 3, seed=1), batch(3, 2, seed=2)]
    found = extract(network, batches, views, torch.device("cpu"), seed=9, turned=True)
    assert found.clip_R.tolist() == [0, 1, 2, 3, 4]
    assert not network.training  # statistics of the batch would make a row depend on its neighbours

    angle_N = (torch.rand(5, generator=torch.Generator().manual_seed(9)) * 2 - 1) * math.pi
    whole = Batch.concatenate(batches)
    by_hand = replace(whole, foa_NCS=rotate(whole.foa_NCS, yaw(angle_N)))
    for row in range(5):
        single = {f.name: getattr(by_hand, f.name)[row : row + 1] for f in fields(Batch)}
        video_NKCTHW, audio_NKCTM = views(Batch(**single))
        torch.testing.assert_close(found.turned_RKD[row], audio_NKCTM[0].flatten(1), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found.video_RKD[row], video_NKCTHW[0].flatten(1))
    torch.testing.assert_close(found.audio_RKD, views.audio(whole).flatten(2))
    assert bool(((found.turned_RKD - found.audio_RKD).abs().mean((1, 2)) > 0.05).all())


def test_without_turning_nothing_is_turned(network: AVSANetwork) -> None:
    views = Views(VIEWS, AUDIO.model_copy(update={"kind": "ambisonics"}), RATE)
    found = extract(network, [batch(0, 2, seed=3)], views, torch.device("cpu"), seed=0, turned=False)
    assert torch.equal(found.turned_RKD, found.audio_RKD)
