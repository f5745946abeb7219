"""Translators against loops over viewpoints, written from the published description."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avsa.models.translator import Translator

State = dict[str, Tensor]


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def _feed_forward(state: State, name: str, x: Tensor) -> Tensor:
    return _linear(state, f"{name}.2", F.relu(_linear(state, f"{name}.0", x)))


def _attention(state: State, name: str, features: list[Tensor], heads: int) -> list[Tensor]:
    query, key, value = ([_linear(state, f"{name}.{part}", x) for x in features] for part in ("query", "key", "value"))
    size = features[0].numel() // heads
    mixed = []
    for q in query:
        parts = []
        for head in range(heads):
            span = slice(head * size, (head + 1) * size)
            weights = torch.stack([q[span] @ k[span] / math.sqrt(size) for k in key]).exp()
            weights = weights / weights.sum()
            parts.append(sum((w * v[span] for w, v in zip(weights, value, strict=True)), torch.zeros(size).double()))
        mixed.append(_linear(state, f"{name}.dense", torch.cat(parts)))
    return mixed


def _reference(state: State, kind: str, depth: int, heads: int, final_relu: bool, clip: list[Tensor]) -> list[Tensor]:
    for index in range(depth):
        layer = f"transformer.{index}"
        if kind == "transformer":
            context = _attention(state, f"{layer}.attention", clip, heads)
            clip = [_norm(state, f"{layer}.attention_norm", x + c) for x, c in zip(clip, context, strict=True)]
            clip = [_norm(state, f"{layer}.dense_norm", x + _feed_forward(state, f"{layer}.dense", x)) for x in clip]
        else:
            clip = [_norm(state, f"{layer}.dense1_norm", x + _feed_forward(state, f"{layer}.dense1", x)) for x in clip]
            clip = [F.relu(x) for x in clip]
            clip = [_norm(state, f"{layer}.dense2_norm", x + _feed_forward(state, f"{layer}.dense2", x)) for x in clip]
        if final_relu:
            clip = [F.relu(x) for x in clip]
    return clip


@pytest.mark.parametrize(
    ("kind", "depth", "heads", "final_relu"),
    [
        ("transformer", 2, 1, True),
        ("transformer", 1, 4, True),
        ("transformer", 4, 1, False),
        ("mlp", 2, 1, True),
        ("mlp", 1, 1, False),
        ("none", 2, 1, True),
        ("transformer", 0, 1, True),
    ],
)
def test_equals_loops_over_viewpoints(kind: str, depth: int, heads: int, final_relu: bool) -> None:
    torch.manual_seed(0)
    net = Translator(kind, 16, depth, 4, heads, 0.1, final_relu).double().eval()  # type: ignore[arg-type]
    for name, p in net.named_parameters():
        if "norm" in name:
            p.data.normal_(1, 0.5)
    features = torch.randn(2, 5, 16, dtype=torch.float64)
    layers = 0 if kind == "none" else depth
    wanted = [
        torch.stack(_reference(net.state_dict(), kind, layers, heads, final_relu, list(clip))) for clip in features
    ]
    torch.testing.assert_close(net(features), torch.stack(wanted), rtol=1e-9, atol=1e-9)


def test_viewpoints_have_no_order_and_only_the_transformer_mixes_them() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 4, 16)
    order = torch.tensor([2, 0, 3, 1])
    changed = features.clone()
    changed[0, 3] += 1
    for kind, mixes in (("transformer", True), ("mlp", False)):
        net = Translator(kind, 16).eval()  # type: ignore[arg-type]
        torch.testing.assert_close(net(features[:, order]), net(features)[:, order])
        assert bool((net(features)[0, 0] != net(changed)[0, 0]).any()) == mixes


def test_attention_weights_are_dropped_out_only_with_several_heads() -> None:
    """With the residual dropouts off, one head is deterministic in training; several heads are not."""
    for heads, random in ((1, False), (2, True)):
        torch.manual_seed(0)
        attention = Translator("transformer", 16, 1, heads=heads, dropout=0.5).train().transformer[0].attention
        features = torch.randn(4, 5, 16)
        assert torch.equal(attention(features), attention(features)) != random  # type: ignore[operator]


def test_features_that_cannot_be_split_over_the_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="16 features cannot be split over 3 heads"):
        Translator("transformer", 16, heads=3)
