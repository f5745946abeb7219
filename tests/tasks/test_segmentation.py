"""Segmentation: what heads are told, that they learn, and what stays frozen."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avsa import config
from avsa.config import SegmentationInput
from avsa.data.labels import LabelledBatch
from avsa.data.views import Views
from avsa.errors import UserError
from avsa.models.network import AVSANetwork, NetworkSpec, build_network
from avsa.tasks.segmentation import IGNORE, Crops, Segmenter, build, conditioning, encode, predict, score, train

VIEWS = config.Views(size=32, frames=2, audio_s=0.5, crops=2)
AUDIO = config.Audio(kind="ambisonics", mels=16, window=256, hop=160)
RATE, CLASSES = 8000, 3
SMALL = config.Segmentation(dim=16, branch=16, epochs=2, milestones=[1], lr=3e-3, weight_decay=0)
ALL: list[SegmentationInput] = ["video", "video+audio", "video+audio+context", "end-to-end"]
TOLD: list[SegmentationInput] = ["video", "video+audio", "video+audio+context"]


@pytest.fixture(scope="module")
def network() -> AVSANetwork:
    return build_network(NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16), seed=0).eval()


@pytest.fixture(scope="module")
def views() -> Views:
    return Views(VIEWS, AUDIO, RATE)


def batch(rows: int, seed: int) -> LabelledBatch:
    """Noise for pictures and sound, and label maps of three classes in patches."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    crops = VIEWS.crops
    patches = uniform(0, CLASSES, rows, 4, 8).byte().repeat_interleave(8, 1).repeat_interleave(8, 2)
    return LabelledBatch(
        y_NTHW=uniform(0, 255, rows, 2, 32, 64).byte(),
        uv_NT2hw=uniform(0, 255, rows, 2, 2, 16, 32).byte(),
        rgb_N34=torch.tensor([[1.0, 0, 1.4, -0.7], [1.0, -0.3, -0.7, 0.5], [1.0, 1.8, 0, -0.9]]).expand(rows, 3, 4),
        foa_NCS=uniform(-0.5, 0.5, rows, 4, RATE // 2).cumsum(-1) * 0.01,
        azimuth_NK=uniform(-math.pi, math.pi, rows, crops),
        elevation_NK=uniform(-1, 1, rows, crops),
        fov_NK=uniform(0.8, 1.5, rows, crops),
        aspect_NK=torch.ones(rows, crops),
        mirror_NK=uniform(0, 1, rows, crops) < 0.5,
        jitter_NK4=torch.tensor([1.0, 1, 1, 0]).expand(rows, crops, 4),
        gain_N=uniform(0.9, 1.1, rows),
        clip_N=torch.arange(rows),
        source_N=torch.arange(rows),
        moment_N=torch.zeros(rows, dtype=torch.int64),
        ids=[f"clip-{row}" for row in range(rows)],
        labels_NHW=patches,
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What heads are told


def test_every_crop_is_seen_and_heard_by_itself(network: AVSANetwork, views: Views) -> None:
    """And the translators see all crops of a clip, and none of another's."""
    whole = batch(3, seed=1)
    found = encode(network, views, whole, TOLD)
    video_NKCTHW, audio_NKCTM = views(whole)
    target_NKHW = whole.crops(VIEWS)
    for n in range(3):
        with torch.no_grad():
            video_KD = torch.stack([network.video(video_NKCTHW[n, k : k + 1])[0] for k in range(2)])
            audio_KD = torch.stack([network.audio(audio_NKCTM[n, k : k + 1])[0] for k in range(2)])
            predicted_audio_KD = network.v2a_transformer(video_KD[None])[0]
            predicted_video_KD = network.a2v_transformer(audio_KD[None])[0]
            stages = [network.video_model.stages(video_NKCTHW[n, k : k + 1]) for k in range(2)]
        for k in range(2):
            b = 2 * n + k
            for level in range(4):
                torch.testing.assert_close(found.maps[level][b], stages[k][level][0], rtol=1e-4, atol=1e-5)
            told = torch.cat([predicted_audio_KD[k], audio_KD[k], predicted_video_KD[k]])
            context = conditioning(found, "video+audio+context")
            assert context is not None
            torch.testing.assert_close(context[b], told, rtol=1e-4, atol=1e-5)
            heard = conditioning(found, "video+audio")
            assert heard is not None
            torch.testing.assert_close(heard[b], audio_KD[k], rtol=1e-4, atol=1e-5)
            assert torch.equal(found.target_BHW[b], target_NKHW[n, k])
            assert int(found.recording_B[b]) == n
    assert conditioning(found, "video") is None
    assert conditioning(found, "end-to-end") is None


def test_only_what_is_asked_for_is_computed(network: AVSANetwork, views: Views) -> None:
    class VideoOnly:
        """Offers maps and nothing else."""

        def eval(self) -> VideoOnly:
            return self

        def video_maps(self, video_BCTHW: Tensor) -> list[Tensor]:
            return list(network.video_model.stages(video_BCTHW))

    encoder: Any = VideoOnly()
    found = encode(encoder, views, batch(1, seed=1), ["video"])
    assert found.audio_BD is None
    assert found.context is None
    assert found.video_BCTHW is None
    for name in ("video+audio", "video+audio+context"):
        with pytest.raises(UserError, match=f"segmentation from {name.replace('+', '.')} needs audio"):
            encode(encoder, views, batch(1, seed=1), ["video", name])


# Learning


@pytest.fixture(scope="module")
def two_clips(network: AVSANetwork, views: Views) -> Crops:
    return encode(network, views, batch(2, seed=2), ALL)


@pytest.mark.parametrize("name", ["video+audio+context", "end-to-end"])
def test_two_clips_are_learned_by_heart(network: AVSANetwork, two_clips: Crops, name: SegmentationInput) -> None:
    before, losses = weights(network), []
    segmenters = build([name], network, two_clips, CLASSES, SMALL, seed=0)
    train(
        segmenters,
        lambda epoch: [two_clips] * 10,
        SMALL.model_copy(update={"epochs": 12, "milestones": [9], "lr": 1e-2 if name != "end-to-end" else 3e-3}),
        lambda mean, epoch: losses.append(mean[name]),
    )
    assert losses[0] > 3 * losses[-1]
    tally = score(segmenters, [two_clips], 2, CLASSES)[name]
    right = int(tally.confusion.diagonal().sum()) / int(tally.confusion.sum())
    assert right > 0.9
    assert tally.images == 4
    assert equal(weights(network), before)  # the encoder is as it was, also where a copy of it learned


def test_end_to_end_trains_what_an_encoder_keeps_frozen_too(network: AVSANetwork, two_clips: Crops) -> None:
    frozen = copy.deepcopy(network).requires_grad_(False)
    segmenter = build(["end-to-end"], frozen, two_clips, CLASSES, SMALL, seed=0)["end-to-end"]
    before = segmenter.get_parameter("encoder.video_model.conv1.0.weight").detach().clone()
    train({"end-to-end": segmenter}, lambda epoch: [two_clips], SMALL)
    assert not torch.equal(segmenter.get_parameter("encoder.video_model.conv1.0.weight"), before)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_the_learning_rate_falls_at_the_milestones(network: AVSANetwork, two_clips: Crops) -> None:
    """A gradient of one sign moves Adam by the learning rate: the steps of a bias show it."""
    segmenters = build(["video"], network, two_clips, 2, SMALL, seed=0)
    bias = segmenters["video"].get_parameter("fpn.predictor.bias")
    one_class = replace(two_clips, target_BHW=torch.zeros_like(two_clips.target_BHW))
    seen = [bias.detach().clone()]

    def one_step(epoch: int) -> list[Crops]:
        return [one_class]

    chosen = SMALL.model_copy(update={"epochs": 6, "milestones": [2, 4], "lr": 1e-2})
    train(segmenters, one_step, chosen, lambda mean, epoch: seen.append(bias.detach().clone()))
    steps = [float((after - before)[0]) for before, after in itertools.pairwise(seen)]
    assert steps == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4], rel=0.15)


def test_the_same_seed_gives_the_same_head(network: AVSANetwork, two_clips: Crops) -> None:
    def trained(seed: int, inputs: list[SegmentationInput]) -> dict[str, Tensor]:
        segmenters = build(inputs, network, two_clips, CLASSES, SMALL, seed)
        train(segmenters, lambda epoch: [two_clips], SMALL)
        return weights(segmenters["video"])

    torch.manual_seed(5)
    first, after = trained(1, ["video"]), torch.rand(1)
    torch.manual_seed(6)
    assert equal(trained(1, ["video+audio", "video"]), first)  # the heads beside it change nothing
    assert not equal(trained(2, ["video"]), first)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # the global generator is as it was


@pytest.mark.parametrize("inputs", [["video", "video+audio+context"], ["end-to-end"]])
def test_interrupted_training_ends_where_an_undisturbed_one_does(
    network: AVSANetwork, two_clips: Crops, inputs: list[SegmentationInput]
) -> None:
    chosen = SMALL.model_copy(update={"epochs": 4, "milestones": [2]})
    epochs: list[int] = []

    def steps(epoch: int) -> Iterator[Crops]:
        yield two_clips
        if epoch == 2 and 2 not in epochs:
            epochs.append(epoch)
            raise KeyboardInterrupt
        epochs.append(epoch)
        yield replace(two_clips, target_BHW=(two_clips.target_BHW + epoch) % CLASSES)

    def begin() -> dict[SegmentationInput, Segmenter]:
        return build(inputs, network, two_clips, CLASSES, chosen, seed=0)

    kept: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        train(begin(), steps, chosen, keep=lambda state: kept.append(copy.deepcopy(state)))
    resumed = begin()
    train(resumed, steps, chosen, state=kept[-1])
    assert epochs == [0, 1, 2, 2, 3]
    undisturbed = begin()
    train(undisturbed, steps, chosen)
    for name in inputs:
        assert equal(weights(resumed[name]), weights(undisturbed[name]))


def test_ignored_pixels_teach_nothing(network: AVSANetwork, two_clips: Crops) -> None:
    hidden = two_clips.target_BHW.clone()
    hidden[:, :16] = IGNORE
    nothing = replace(two_clips, target_BHW=torch.full_like(hidden, IGNORE))

    def trained(*steps: Crops) -> dict[str, Tensor]:
        segmenters = build(["video"], network, two_clips, CLASSES, SMALL, seed=0)
        train(segmenters, lambda epoch: steps, SMALL)
        return weights(segmenters["video"])

    alone = trained(replace(two_clips, target_BHW=hidden))
    assert equal(trained(nothing, replace(two_clips, target_BHW=hidden), nothing), alone)
    assert all(bool(tensor.isfinite().all()) for tensor in alone.values())
    assert not equal(trained(two_clips), alone)


def test_a_loss_that_is_not_finite_stops(network: AVSANetwork, two_clips: Crops) -> None:
    broken = replace(two_clips, maps_BTHWC=tuple(x * math.inf for x in two_clips.maps_BTHWC))
    with pytest.raises(UserError, match=r"segmentation from video: loss nan in epoch 0"):
        train(build(["video"], network, two_clips, CLASSES, SMALL, seed=0), lambda epoch: [broken], SMALL)


def test_predictions_are_upsampled_logits(network: AVSANetwork, two_clips: Crops) -> None:
    segmenter = build(["video+audio"], network, two_clips, CLASSES, SMALL, seed=0)["video+audio"]
    nn.init.normal_(segmenter.fpn.predictor.weight, 0, 1)
    with torch.no_grad():
        logits = segmenter.fpn(two_clips.maps, two_clips.audio_BD)
    found = predict(segmenter, two_clips)
    assert logits.shape[2:] == (16, 16)
    assert found.shape == two_clips.target_BHW.shape
    inside = logits[:, :, 4, 5] * 9 / 16 + (logits[:, :, 4, 6] + logits[:, :, 5, 5]) * 3 / 16 + logits[:, :, 5, 6] / 16
    assert torch.equal(found[:, 9, 11], inside.argmax(1))
    copied = copy.deepcopy(segmenter).train()
    assert torch.equal(predict(copied, two_clips), found)
