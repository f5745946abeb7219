"""Names and shapes of the published checkpoints, seeded construction, and the refusal of foreign checkpoints."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from avsa.errors import UserError
from avsa.models import AVSANetwork, BinaryHead, NetworkSpec, build_network, load_weights
from avsa.models.heads import ProjectionHead

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
SMALL = NetworkSpec(video_depth=10, video_width=0.125, audio_width=0.25, audio_channels=7)


def _published(entry: str, prefix: str) -> dict[str, list[int]]:
    path = SHARED / "released" / "checkpoint_keys.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    shapes: dict[str, list[int]] = json.loads(path.read_text())[entry]
    assert all(name.startswith(prefix) for name in shapes)
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def test_paper_network_has_the_published_names_and_shapes() -> None:
    published = _published('pretrain checkpoint, entry "model"', "module.")
    published |= _published('pretrain checkpoint, entry "train_criterion" (AVSA configs)', "losses.0.")
    with torch.device("meta"):
        network = AVSANetwork(NetworkSpec())
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == published


def test_instance_discrimination_heads_are_a_pure_rename() -> None:
    published = _published('pretrain checkpoint, entry "train_criterion" (InstDisc config)', "losses.0.")
    renamed = {name.replace("_projection.", "_head."): shape for name, shape in published.items()}
    with torch.device("meta"):
        network = AVSANetwork(NetworkSpec())
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert renamed == {name: ours[name] for name in ours if name.startswith(("video_head.", "audio_head."))}


def test_binary_head_has_the_published_names_and_shapes() -> None:
    published = _published("binary head", "")
    assert {name: list(tensor.shape) for name, tensor in BinaryHead().state_dict().items()} == published


def test_same_seed_same_weights_whatever_the_global_random_state() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_network(SMALL, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_network(SMALL, seed=5).state_dict(), build_network(SMALL, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["video_model.conv1.0.weight"], other["video_model.conv1.0.weight"])


def test_encoders_and_translators_of_different_widths_fit_together() -> None:
    network = build_network(SMALL, seed=0).eval()
    video = network.video(torch.randn(6, 3, 4, 24, 24)).unflatten(0, (2, 3))
    audio = network.audio(torch.randn(6, 7, 20, 16)).unflatten(0, (2, 3))
    from_video, from_audio = network.translate(video, audio)
    torch.testing.assert_close(from_video, network.v2a_transformer(video))
    torch.testing.assert_close(from_audio, network.a2v_transformer(audio))
    for head, features in (
        (network.video_head, video),
        (network.audio_head, audio),
        (network.audio_pred_head, from_video),
        (network.video_pred_head, from_audio),
    ):
        weight, bias = head.projection[0].weight, head.projection[0].bias
        torch.testing.assert_close(head(features), features @ weight.T + bias)  # type: ignore[operator]
        assert head(features).shape == (2, 3, 128)


def test_binary_head_computes_linear_relu_linear_on_the_pair() -> None:
    torch.manual_seed(0)
    head = BinaryHead(6, 4).eval()
    video, audio = torch.randn(5, 3, 6), torch.randn(5, 3, 4)
    p = head.state_dict()
    hidden = F.relu(torch.cat([video, audio], dim=-1) @ p["classifier.0.weight"].T + p["classifier.0.bias"])
    torch.testing.assert_close(head(video, audio), hidden @ p["classifier.2.weight"].T + p["classifier.2.bias"])


def test_half_of_a_pair_is_dropped_in_training() -> None:
    torch.manual_seed(0)
    head = BinaryHead(60, 40).train()
    head.classifier = nn.Identity()  # type: ignore[assignment]
    pair = head(torch.full((400, 60), 3.0), torch.full((400, 40), 5.0))
    kept = pair != 0
    torch.testing.assert_close(pair, kept * torch.tensor([6.0] * 60 + [10.0] * 40))
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.01)
    for axis, others in ((0, 100), (1, 400)):  # every row and every feature by itself
        spread = kept.float().mean(axis).std()
        assert float(spread) == pytest.approx(0.5 / (40000 / others) ** 0.5, rel=0.25)


def test_weights_survive_the_round_trip() -> None:
    source, target = build_network(SMALL, 0), build_network(SMALL, 1)
    load_weights(target, source.state_dict(), "a.pt")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_checkpoint_of_another_architecture_is_one_line_and_changes_nothing() -> None:
    network = build_network(SMALL, 0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wide = build_network(NetworkSpec(10, 0.25, 0.25, 7), 0)
    with pytest.raises(
        UserError, match=r"runs/a.pt: .*video_model.conv1.0.weight is 16×3×3×7×7, expected 8×3×3×7×7"
    ) as e:
        load_weights(network, wide.state_dict(), "runs/a.pt")
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match=r"conv2x.spt_conv1.weight is missing, expected 8×8×1×3×3"):
        load_weights(network, build_network(NetworkSpec(18, 0.125, 0.25, 7), 0).state_dict(), "a.pt")
    with pytest.raises(UserError, match=r"extra 128×2 is unknown"):
        load_weights(network, before | {"extra": torch.zeros(128, 2)}, "a.pt")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_projection_head_is_not_normalised() -> None:
    head = ProjectionHead(8, 4)
    torch.nn.init.constant_(head.projection[0].bias, 3.0)  # type: ignore[arg-type]
    assert head(torch.zeros(2, 8)).tolist() == [[3.0] * 4] * 2
