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
from avsa.tasks.binary import BinaryTask, Features, Setting, Sides, Translation, extract, head_input, sides, wrong_audio
from avsa.tasks.probe import Probe, held_out, probe

K, D = 4, 32  # a network of width 1/16 has 32 features
CPU = torch.device("cpu")


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


def bank(*source: int) -> Sides:
    """Rows whose sound tells their recording, from 1 on; turned, it has the other sign."""
    source_R = torch.tensor(source)
    audio_RKD = 1.0 + source_R[:, None, None].expand(-1, K, 2)
    return Sides(audio_RKD, audio_RKD, -audio_RKD, source_R)


def test_wrong_sounds_come_from_every_other_recording_alike() -> None:
    known = bank(*[0] * 12, 1, 2, 3, 3)  # one recording has most of the rows
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(1000):
        audio_RKD, row_R = wrong_audio("avc-bin", known, generator)
        drawn.append(audio_RKD[row_R, 0, 0] - 1)
    source = torch.stack(drawn)
    assert not (source == known.source_R).any()
    share = [float((source[:, 13] == one).float().mean()) for one in (0, 1, 3)]  # seen from recording 2
    assert share == pytest.approx([12 / 15, 1 / 15, 2 / 15], abs=0.05)


def test_wrong_sounds_are_drawn_anew_and_whole() -> None:
    known, generator = bank(*range(50)), torch.Generator().manual_seed(0)
    (_, first_R), (audio_RKD, second_R) = (wrong_audio("avc-bin", known, generator) for _ in range(2))
    assert audio_RKD is known.audio_RKD
    assert not torch.equal(first_R, second_R)
    assert torch.equal(wrong_audio("avc-bin", known, torch.Generator().manual_seed(0))[1], first_R)
    turned_RKD, row_R = wrong_audio("avsa-bin", known, generator)
    assert torch.equal(turned_RKD[row_R], known.turned_RKD)


def test_one_recording_has_no_other() -> None:
    with pytest.raises(UserError, match="at least two recordings"):
        wrong_audio("avc-bin", bank(0, 0, 0, 0, 0), torch.Generator())


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
    from_video, from_audio = network.v2a_transformer(video), network.a2v_transformer(audio)
    expected = PREDICTED[translation](video, audio, from_video, from_audio)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("translation", PREDICTED)
def test_a_row_of_the_one_side_goes_with_any_row_of_the_other(network: AVSANetwork, translation: Translation) -> None:
    """Translated once for all pairs, as if every pair were translated by itself."""
    R, setting = 1030, Setting(2, translation)  # more rows than are worked on together
    known = features(R, 1, seed=7)
    found = sides(network, known, setting, CPU)
    assert not found.video_RKD.requires_grad
    order_R = torch.randperm(R, generator=torch.Generator().manual_seed(1))[:7]
    with torch.no_grad():
        video, audio = head_input(network, known.video_RKD[:7], known.audio_RKD[order_R], setting)
        turned = head_input(network, known.video_RKD[:7], known.turned_RKD[order_R], setting)[1]
    torch.testing.assert_close(found.video_RKD[:7], video)
    torch.testing.assert_close(found.audio_RKD[order_R], audio)
    torch.testing.assert_close(found.turned_RKD[order_R], turned)


def test_settings_are_named() -> None:
    assert [str(Setting(1)), str(Setting(4, "concat")), str(Setting(4, audio_only=True))] == [
        "1 crop", "4 crops, translator", "4 crops, audio only",
    ]  # fmt: skip
    assert str(Setting(2, fine_tuned=True)) == "2 crops, fine-tuned"
    assert str(Setting(2, "audio", fine_tuned=True)) == "2 crops, translator (audio), fine-tuned"
    assert Setting(4, "concat").key == "4-crops-translator"
    assert Setting(4, "audio").key == "4-crops-translator-audio"


# Figures


def judge(
    network: AVSANetwork,
    task: BinaryTask,
    train: Features,
    test: Features,
    setting: Setting | int = 1,
    seed: int = 0,
    **chosen: Any,
) -> Probe:
    binary = config.Binary.model_validate({"epochs": 10, "lr": 3e-3, **chosen})
    setting = Setting(setting) if isinstance(setting, int) else setting
    return probe(network, task, setting, train, test, binary, seed, CPU)


def shifted(clips: int, seed: int, distance: float) -> Features:
    """The turned sound differs from the right one by ``distance`` standard deviations in one feature of each crop."""
    noise = features(clips, 1, seed)
    audio_RKD, turned_RKD = noise.audio_RKD[..., :1].clone(), noise.turned_RKD[..., :1].clone()
    return Features(torch.zeros(clips, K, 8), audio_RKD + distance / 2, turned_RKD - distance / 2, noise.source_R)


def test_separable_features_are_told_apart(network: AVSANetwork) -> None:
    found = judge(network, "avsa-bin", shifted(300, 1, 12.0), shifted(200, 2, 12.0), epochs=20).score.accuracy
    assert found.n == 400
    assert found.value > 99
    assert found.low > 97


def test_noise_is_a_coin_flip(network: AVSANetwork) -> None:
    for task in ("avc-bin", "avsa-bin"):
        found = judge(network, task, features(200, 2, 1), features(400, 2, 2), K).score
        for accuracy, n in ((found.accuracy, 1600), (found.accuracy_crop, 1600 * K)):
            assert accuracy.n == n
            assert accuracy.low < 50 < accuracy.high
            assert accuracy.low < accuracy.value < accuracy.high


def test_a_sound_alone_tells_nothing(network: AVSANetwork) -> None:
    """Pictures and sounds that agree perfectly: without the picture every sound is some pair's right one."""
    train, test = (
        Features(audio, audio, audio.flip(0), torch.arange(300)) for audio in (draw(300, K, 16, seed=s) for s in (1, 2))
    )
    for task in ("avc-bin", "avsa-bin"):  # the turned sound is here that of another row: alike as a whole
        found = judge(network, task, train, test, Setting(K, audio_only=True)).score.accuracy
        assert found.low < 50 < found.high
    seen = judge(network, "avc-bin", train, test, Setting(K), epochs=30).score.accuracy
    assert seen.low > 60


@pytest.mark.parametrize(("crops", "best"), [(1, 1.0), (4, 2.0)])
def test_crops_add_up_to_what_theory_says(network: AVSANetwork, crops: int, best: float) -> None:
    """Gaussians 2 apart: the best accuracy is Φ(1) for one crop and, for the mean over four, Φ(2)."""
    found = judge(network, "avsa-bin", shifted(600, 3, 2.0), shifted(1500, 4, 2.0), crops).score
    for accuracy, z in ((found.accuracy, best), (found.accuracy_crop, 1.0)):
        optimum = 50 * (1 + math.erf(z / math.sqrt(2)))
        assert accuracy.low - 0.5 <= optimum <= accuracy.high + 1
        assert accuracy.value == pytest.approx(optimum, abs=1.6)


def test_crops_that_are_judged_by_two_pairs_count_once(network: AVSANetwork) -> None:
    known = features(60, 1, 1)
    found = judge(network, "avsa-bin", known, known, Setting(3, "parallel"), epochs=1).score
    assert (found.accuracy.n, found.accuracy_crop.n) == (120, 360)


def test_agreement_of_one_bit_gives_three_quarters(network: AVSANetwork) -> None:
    """Picture and sound of a clip carry the same sign; so does every second wrong pair, which nobody can tell."""

    def signs(clips: int, seed: int) -> Features:
        sign = draw(clips, seed=seed).sign()[:, None, None].expand(-1, K, 16)
        return Features(
            sign + 0.1 * draw(clips, K, 16, seed=seed + 1), sign + 0.1 * draw(clips, K, 16, seed=seed + 2),
            sign, torch.arange(clips),
        )  # fmt: skip

    found = judge(network, "avc-bin", signs(400, 1), signs(600, 5), epochs=30).score.accuracy
    assert found.low < 75 < found.high
    assert found.value == pytest.approx(75, abs=2.5)


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


def test_decisions_on_one_recording_are_one_cluster(network: AVSANetwork) -> None:
    """Every row 20 times: the same figure whether they are said to be of one recording, and then a wider interval."""
    train, drawn = shifted(200, 5, 2.0), shifted(20, 6, 2.0)
    columns = (drawn.video_RKD, drawn.audio_RKD, drawn.turned_RKD)
    video_RKD, audio_RKD, turned_RKD = (column.repeat_interleave(20, 0) for column in columns)
    alone, together = (
        judge(network, "avsa-bin", train, Features(video_RKD, audio_RKD, turned_RKD, source_R), epochs=3).score.accuracy
        for source_R in (torch.arange(400), torch.arange(20).repeat_interleave(20))
    )
    assert alone.value == together.value
    assert together.high - together.low > 3 * (alone.high - alone.low)


# Learning rates


def test_of_several_learning_rates_the_one_that_learns_is_taken(network: AVSANetwork) -> None:
    train, test = shifted(300, 1, 4.0), shifted(200, 2, 4.0)
    idle = judge(network, "avsa-bin", train, test, lr=1e-9, seed=3).score.accuracy
    several = judge(network, "avsa-bin", train, test, lr=[1e-9, 3e-3, 1e-8], seed=3)
    assert several == judge(network, "avsa-bin", train, test, lr=3e-3, seed=3)
    assert several.lr == 3e-3
    assert idle.value < 60 < 90 < several.score.accuracy.value


def test_the_choice_does_not_see_the_test_split(network: AVSANetwork) -> None:
    """Turned around in the test split, what was learned is wrong there: a choice by it would take the idle head."""
    train, test = shifted(300, 1, 6.0), shifted(200, 2, 6.0)
    reversed_ = Features(test.video_RKD, test.turned_RKD, test.audio_RKD, test.source_R)
    found = judge(network, "avsa-bin", train, reversed_, lr=[1e-9, 3e-3], seed=3)
    assert found.lr == 3e-3
    assert found.score.accuracy.value < 10


def test_recordings_are_held_out_whole() -> None:
    source_R = torch.arange(10).repeat_interleave(3)[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    held_R = held_out(source_R, 0.2, seed=3)
    assert int(held_R.sum()) == 6
    assert not set(source_R[held_R].tolist()) & set(source_R[~held_R].tolist())
    assert not torch.equal(held_R, held_out(source_R, 0.2, seed=4))
    assert int(held_out(torch.tensor([4, 9]), 0.9, seed=0).sum()) == 1
    assert int(held_out(torch.tensor([4, 9]), 0.01, seed=0).sum()) == 1
    with pytest.raises(UserError, match="at least two recordings"):
        held_out(torch.tensor([4, 4]), 0.2, seed=0)


def test_at_a_milestone_the_rate_falls_to_a_tenth(network: AVSANetwork) -> None:
    """Nine milestones at once: a rate that moves nothing more; two epochs are then as good as one was."""
    train, test = shifted(100, 5, 1.0), shifted(150, 6, 1.0)
    still = judge(network, "avsa-bin", train, test, epochs=3, milestones=[1] * 9)
    assert still == judge(network, "avsa-bin", train, test, epochs=1)
    assert still != judge(network, "avsa-bin", train, test, epochs=3)


def test_a_rate_may_be_written_as_one_number() -> None:
    assert config.Binary.model_validate({"lr": 1e-3}).lr == config.Binary(lr=[1e-3]).lr == [1e-3]
    for wrong in ([], [1e-3, 0], "fast"):
        with pytest.raises(ValueError, match="lr"):
            config.Binary.model_validate({"lr": wrong})


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
        source_N=torch.arange(100 + first_clip, 100 + first_clip + rows),
        moment_N=torch.zeros(rows, dtype=torch.int64),
        ids=[f"clip-{first_clip + row}" for row in range(rows)],
    )


class Transparent(nn.Module):
    """Shows what the encoders are given."""

    def __init__(self) -> None:
        super().__init__()
        self.video_dim = 3 * VIEWS.frames * VIEWS.size**2
        self.audio_dim = 7 * 25 * AUDIO.mels

    def video(self, video_BCTHW: Tensor) -> Tensor:
        return video_BCTHW.flatten(1)

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        return audio_BCTM.flatten(1)


def test_turned_features_are_those_of_turned_sound() -> None:
    network: Any = Transparent().train()
    views = Views(VIEWS, AUDIO, RATE)
    batches = [batch(0, 3, seed=1), batch(3, 2, seed=2)]
    found = extract(network, batches, views, CPU, seed=9)
    assert found.source_R.tolist() == [100, 101, 102, 103, 104]
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


def test_an_encoder_that_gives_another_shape_than_it_says_is_refused() -> None:
    network: Any = Transparent()
    network.audio_dim = 5
    with pytest.raises(UserError, match=r"Transparent.audio of 4 crops gives 4×2800: 4×5 features are expected"):
        extract(network, [batch(0, 2, seed=1)], Views(VIEWS, AUDIO, RATE), CPU, seed=0)
