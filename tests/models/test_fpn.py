"""The pyramid head against its formulas, written out with other means."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from avsa.models.fpn import FPNHead

Array = npt.NDArray[np.float64]
SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def convolve(x_CHW: Array, weight: Array, bias: Array | None = None) -> Array:
    """3×3 with a border of zeros, or 1×1: a sum over the kernel's places."""
    size = weight.shape[2]
    margin = size // 2
    padded = np.pad(x_CHW, ((0, 0), (margin, margin), (margin, margin)))
    H, W = x_CHW.shape[1:]
    out = np.zeros((weight.shape[0], H, W))
    for i in range(size):
        for j in range(size):
            out += np.tensordot(weight[:, :, i, j], padded[:, i : i + H, j : j + W], 1)
    return out if bias is None else out + bias[:, None, None]


def group_norm(x_CHW: Array, weight: Array, bias: Array) -> Array:
    out = np.empty_like(x_CHW)
    for start in range(0, len(x_CHW), 4):
        group = x_CHW[start : start + 4]
        out[start : start + 4] = (group - group.mean()) / np.sqrt(group.var() + 1e-5)
    return out * weight[:, None, None] + bias[:, None, None]


def double_bilinear(x_CHW: Array) -> Array:
    """Each new pixel lies a quarter of an old one from the nearest old centre; beyond the border the edge goes on."""
    for axis in (1, 2):
        x = np.moveaxis(x_CHW, axis, -1)
        edged = np.concatenate([x[..., :1], x, x[..., -1:]], -1)
        out = np.empty((*x.shape[:-1], 2 * x.shape[-1]))
        out[..., 0::2] = 0.75 * edged[..., 1:-1] + 0.25 * edged[..., :-2]
        out[..., 1::2] = 0.75 * edged[..., 1:-1] + 0.25 * edged[..., 2:]
        x_CHW = np.moveaxis(out, -1, axis)
    return x_CHW


def slow_head(state: dict[str, Array], maps: list[Array], vector_D: Array | None) -> Array:
    """Logits of one crop, level by level from the coarsest."""
    height, width = maps[0].shape[2:]
    above: Array | None = None
    total = np.zeros(())
    for level in (5, 4, 3, 2):
        x_CTHW = maps[level - 2]
        if level == 5 and vector_D is not None:
            T, H, W = x_CTHW.shape[1:]
            x_CTHW = np.concatenate([x_CTHW, np.tile(vector_D[:, None, None, None], (1, T, H, W))])
        pooled = sum(state[f"time_pool{level}.weight"][0, 0, t, 0, 0] * x_CTHW[:, t] for t in range(x_CTHW.shape[1]))
        lateral = convolve(np.asarray(pooled), state[f"lat_fpn_{level}.weight"], state[f"lat_fpn_{level}.bias"])
        if above is not None:
            lateral = lateral + above.repeat(2, 1).repeat(2, 2)[:, : lateral.shape[1], : lateral.shape[2]]
        above = lateral
        x = convolve(lateral, state[f"out_fpn_{level}.weight"], state[f"out_fpn_{level}.bias"])
        for i in range(max(level - 2, 1)):
            name = f"upsampling{level}.{4 * i}"
            x = convolve(x, state[f"{name}.weight"])
            norm = f"upsampling{level}.{4 * i + 1}"
            x = np.maximum(group_norm(x, state[f"{norm}.weight"], state[f"{norm}.bias"]), 0)
            if level > 2:
                x = double_bilinear(x)
        total = total + x[:, :height, :width]
    return convolve(total, state["predictor.weight"], state["predictor.bias"])


@pytest.mark.parametrize(
    ("sides", "steps", "conditioning", "channels"),
    [
        ((16, 8, 4, 2), (8, 4, 2, 1), 0, (4, 6, 8, 10)),
        ((16, 8, 4, 2), (8, 4, 2, 1), 7, (4, 6, 8, 10)),
        ((12, 6, 3, 2), (4, 2, 1, 1), 5, (3, 3, 3, 3)),  # other frame counts, a side that is odd at one level
        ((13, 7, 4, 2), (5, 3, 2, 1), 3, (2, 4, 6, 8)),
    ],
)
def test_the_formulas(
    sides: tuple[int, ...], steps: tuple[int, ...], conditioning: int, channels: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    head = FPNHead(channels, steps, conditioning, classes=5, dim=12, branch=8).double()
    for parameter in head.parameters():  # as if trained: nothing is 0 or 1 or the mean
        torch.nn.init.normal_(parameter, 0.1, 0.5)
    maps = [torch.randn(2, C, T, side, side).double() for C, T, side in zip(channels, steps, sides, strict=True)]
    vector_BD = torch.randn(2, conditioning).double() if conditioning else None
    found = head(maps, vector_BD)
    state = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    assert found.shape == (2, 5, sides[0], sides[0])
    for b in range(2):
        vector_D = None if vector_BD is None else vector_BD[b].numpy()
        expected = slow_head(state, [x[b].numpy() for x in maps], vector_D)
        np.testing.assert_allclose(found[b].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_channels_last_and_channels_first_agree() -> None:
    torch.manual_seed(0)
    head = FPNHead((4, 4, 4, 4), (4, 2, 1, 1), 0, 3, 8, 8)
    maps = [torch.randn(2, 4, T, side, side) for T, side in zip((4, 2, 1, 1), (16, 8, 4, 2), strict=True)]
    last = [x.contiguous(memory_format=torch.channels_last_3d) for x in maps]
    torch.testing.assert_close(head(last), head(maps))


def test_the_start() -> None:
    torch.manual_seed(0)
    head = FPNHead()
    convolutions = {name: x for name, x in head.state_dict().items() if x.ndim == 4}
    assert len(convolutions) == 4 + 4 + 7 + 1
    for name, weight in convolutions.items():
        assert float(weight.std()) == pytest.approx(0.001, rel=0.1), name
        assert abs(float(weight.mean())) < 1e-4
    for level, steps in ((2, 8), (3, 4), (4, 2), (5, 1)):
        torch.testing.assert_close(
            head.state_dict()[f"time_pool{level}.weight"].flatten(), torch.full((steps,), 1 / steps)
        )


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    head = FPNHead((4, 4, 4, 4), (4, 2, 1, 1), 3, 3, 8, 8)
    maps = [torch.randn(2, 4, T, side, side) for T, side in zip((4, 2, 1, 1), (16, 8, 4, 2), strict=True)]
    head(maps, torch.randn(2, 3)).square().sum().backward()
    without = [name for name, p in head.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not without


@pytest.mark.parametrize(("kind", "conditioning"), [("vonly", 0), ("audio", 512), ("audio_ctx", 3 * 512)])
def test_published_heads_fit(kind: str, conditioning: int) -> None:
    path = SHARED / "released" / "checkpoint_keys.json"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    published: dict[str, list[int]] = json.loads(path.read_text())[f"segmentation head, {kind}"]
    head = FPNHead(conditioning=conditioning)
    shapes = {f"fpn.{name}": list(tensor.shape) for name, tensor in head.state_dict().items()}
    assert shapes == published


def test_group_size_must_divide_the_branch() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        FPNHead(branch=30)
