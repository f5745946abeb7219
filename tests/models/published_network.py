"""The published networks once more: names and shapes of their files, and their outputs by plain functions of tensors.

Written from the layers' description alone, in double precision and without a module of the project.

Shapes: B crops, K viewpoints, C channels, T time, H×W pixels, M mel bins, D features.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


def _norm(name: str, channels: int) -> Shapes:
    each: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return each | {f"{name}.num_batches_tracked": ()}


def _linear(name: str, out: int, dim: int) -> Shapes:
    return {f"{name}.weight": (out, dim), f"{name}.bias": (out,)}


def video_shapes(prefix: str, width: int = 64, depth: int = 18) -> Shapes:
    shapes: Shapes = {f"{prefix}conv1.0.weight": (width, 3, 3, 7, 7)} | _norm(f"{prefix}conv1.1", width)
    below = width
    for stage in (2, 3, 4, 5):
        channels = width << (stage - 2)
        for block in (0, 1) if depth == 18 else (None,):
            at = f"{prefix}conv{stage}x." if block is None else f"{prefix}conv{stage}x.{block}."
            into = channels if block == 1 else below
            shapes[f"{at}spt_conv1.weight"] = (channels, into, 1, 3, 3)
            shapes |= _norm(f"{at}spt_bn1", channels)
            shapes[f"{at}tmp_conv1.weight"] = (channels, channels, 3, 1, 1)
            shapes |= _norm(f"{at}tmp_bn1", channels)
            shapes[f"{at}spt_conv2.weight"] = (channels, channels, 1, 3, 3)
            shapes |= _norm(f"{at}spt_bn2", channels)
            shapes[f"{at}tmp_conv2.weight"] = (channels, channels, 3, 1, 1)
            shapes |= _norm(f"{at}out_bn", channels)
            if into != channels:
                shapes[f"{at}res_conv.weight"] = (channels, into, 1, 1, 1)
        below = channels
    return shapes


def audio_shapes(prefix: str, width: int = 64, channels: int = 4) -> Shapes:
    shapes: Shapes = {f"{prefix}conv1.0.weight": (width, channels, 7, 7)} | _norm(f"{prefix}conv1.1", width)
    below = width
    for block in (1, 2, 3, 4):
        out = width << (block - 1)
        shapes |= {f"{prefix}block{block}.conv1.weight": (out, below, 3, 3)} | _norm(f"{prefix}block{block}.bn1", out)
        shapes |= {f"{prefix}block{block}.conv2.weight": (out, out, 3, 3)} | _norm(f"{prefix}block{block}.bn2", out)
        below = out
    return shapes


def translator_shapes(prefix: str, dim: int = 512, depth: int = 2, context: bool = True) -> Shapes:
    shapes: Shapes = {}
    for layer in range(depth):
        at = f"{prefix}transformer.{layer}."
        if context:
            for name in ("query", "key", "value", "dense"):
                shapes |= _linear(f"{at}attention.{name}", dim, dim)
            shapes |= {f"{at}attention_norm.weight": (dim,), f"{at}attention_norm.bias": (dim,)}
        for dense in ("dense",) if context else ("dense1", "dense2"):
            shapes |= _linear(f"{at}{dense}.0", 4 * dim, dim) | _linear(f"{at}{dense}.2", dim, 4 * dim)
            shapes |= {f"{at}{dense}_norm.weight": (dim,), f"{at}{dense}_norm.bias": (dim,)}
    return shapes


def head_shapes(prefix: str, names: tuple[str, ...], dim: int = 512) -> Shapes:
    return {k: v for name in names for k, v in _linear(f"{prefix}{name}.projection.0", 128, dim).items()}


def fpn_shapes(prefix: str, conditioning: int = 0, width: int = 64, classes: int = 32) -> Shapes:
    shapes: Shapes = {}
    for level, steps, times in ((5, 1, 3), (4, 2, 2), (3, 4, 1), (2, 8, 1)):
        below = (width << (level - 2)) + (conditioning if level == 5 else 0)
        shapes[f"{prefix}time_pool{level}.weight"] = (1, 1, steps, 1, 1)
        shapes |= {f"{prefix}lat_fpn_{level}.weight": (256, below, 1, 1), f"{prefix}lat_fpn_{level}.bias": (256,)}
        shapes |= {f"{prefix}out_fpn_{level}.weight": (256, 256, 3, 3), f"{prefix}out_fpn_{level}.bias": (256,)}
        for i in range(times):
            shapes[f"{prefix}upsampling{level}.{4 * i}.weight"] = (128, 256 if i == 0 else 128, 3, 3)
            shapes |= {f"{prefix}upsampling{level}.{4 * i + 1}.{part}": (128,) for part in ("weight", "bias")}
    return shapes | {f"{prefix}predictor.weight": (classes, 128, 1, 1), f"{prefix}predictor.bias": (classes,)}


def classifier_shapes(*sizes: int) -> Shapes:
    """Of linear maps one after the other, with a ReLU between them."""
    if len(sizes) == 2:
        return _linear("classifier", sizes[1], sizes[0])
    shapes: Shapes = {}
    for i, (dim, out) in enumerate(pairwise(sizes)):
        shapes |= _linear(f"classifier.{2 * i}", out, dim)
    return shapes


FOUR = ("video_head", "audio_head", "video_pred_head", "audio_pred_head")
TWO = ("video_projection", "audio_projection")


def pretrained(kind: str, seed: int, *, width: int = 64, depth: int = 18, layers: int = 2, context: bool = True) -> Any:
    """A pre-training file's content: every tensor random."""
    dim = 8 * width
    model = video_shapes("module.video_model.", width, depth) | audio_shapes("module.audio_model.", width)
    if kind == "instdisc":
        criterion = head_shapes("losses.0.", TWO, dim)
    else:
        criterion = translator_shapes("losses.0.v2a_transformer.", dim, layers, context)
        criterion |= translator_shapes("losses.0.a2v_transformer.", dim, layers, context)
        criterion |= head_shapes("losses.0.", FOUR, dim)
    optimiser = {"state": {0: {"step": 7}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    return {
        "epoch": 50,
        "model": filled(model, seed),
        "optimizer": optimiser,
        "train_criterion": filled(criterion, seed + 1),
    }


def filled(shapes: Shapes, seed: int) -> State:
    """Tensors of these shapes, random, of sizes that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1234)
        elif name.endswith("running_var"):
            state[name] = noise.abs() + 0.5
        elif "time_pool" in name:
            state[name] = (1 + 0.5 * noise) / shape[2]
        elif len(shape) > 1:
            state[name] = noise * math.sqrt(1.5 / math.prod(shape[1:]))
        else:
            state[name] = 0.2 * noise + (name.endswith("weight"))
    return state


class Reference:
    """Functions of double precision over a file's tensors; `prefix` is what the names of a part start with."""

    def __init__(self, state: State) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}

    def _batch_norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"].view(1, -1, *[1] * (x.dim() - 2))
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def _layer_norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def maps(self, video_BCTHW: Tensor, prefix: str) -> list[Tensor]:
        """conv2x … conv5x."""
        p = self.state
        x = F.conv3d(video_BCTHW.double(), p[f"{prefix}conv1.0.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
        x = self._batch_norm(x, f"{prefix}conv1.1").relu()
        maps = []
        for stage in (2, 3, 4, 5):
            two = f"{prefix}conv{stage}x.1.spt_conv1.weight" in p
            for block in ("0.", "1.") if two else ("",):
                at = f"{prefix}conv{stage}x.{block}"
                s = 2 if stage > 2 and block in ("0.", "") else 1
                y = F.conv3d(x, p[f"{at}spt_conv1.weight"], stride=(1, s, s), padding=(0, 1, 1))
                y = self._batch_norm(y, f"{at}spt_bn1").relu()
                y = F.conv3d(y, p[f"{at}tmp_conv1.weight"], stride=(s, 1, 1), padding=(1, 0, 0))
                y = self._batch_norm(y, f"{at}tmp_bn1").relu()
                y = F.conv3d(y, p[f"{at}spt_conv2.weight"], padding=(0, 1, 1))
                y = self._batch_norm(y, f"{at}spt_bn2").relu()
                y = F.conv3d(y, p[f"{at}tmp_conv2.weight"], padding=(1, 0, 0))
                if s == 2:
                    x = F.conv3d(x, p[f"{at}res_conv.weight"], stride=2)
                x = self._batch_norm(x + y, f"{at}out_bn").relu()
            maps.append(x)
        return maps

    def video(self, video_BCTHW: Tensor, prefix: str) -> Tensor:
        return self.maps(video_BCTHW, prefix)[-1].flatten(2).max(2).values

    def audio(self, audio_BCTM: Tensor, prefix: str) -> Tensor:
        p = self.state
        x = F.conv2d(audio_BCTM.double(), p[f"{prefix}conv1.0.weight"], stride=2, padding=3)
        x = self._batch_norm(x, f"{prefix}conv1.1").relu()
        for block, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
            at = f"{prefix}block{block}."
            x = self._batch_norm(F.conv2d(x, p[f"{at}conv1.weight"], stride=stride, padding=1), f"{at}bn1").relu()
            x = self._batch_norm(F.conv2d(x, p[f"{at}conv2.weight"], padding=1), f"{at}bn2").relu()
        return x.flatten(2).max(2).values

    def translate(self, features_BKD: Tensor, prefix: str) -> Tensor:
        x, layer = features_BKD.double(), 0
        while any(name.startswith(f"{prefix}transformer.{layer}.") for name in self.state):
            at = f"{prefix}transformer.{layer}."
            if f"{at}dense1.0.weight" in self.state:
                hidden = self.linear(self.linear(x, f"{at}dense1.0").relu(), f"{at}dense1.2")
                x = self._layer_norm(x + hidden, f"{at}dense1_norm").relu()
                dense = f"{at}dense2"
            else:
                query, key, value = (self.linear(x, f"{at}attention.{name}") for name in ("query", "key", "value"))
                weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(x.shape[-1]), dim=-1)
                x = self._layer_norm(x + self.linear(weights @ value, f"{at}attention.dense"), f"{at}attention_norm")
                dense = f"{at}dense"
            hidden = self.linear(self.linear(x, f"{dense}.0").relu(), f"{dense}.2")
            x = self._layer_norm(x + hidden, f"{dense}_norm").relu()
            layer += 1
        return x

    def fpn(self, maps: list[Tensor], conditioning_BD: Tensor | None, prefix: str) -> Tensor:
        p, total = self.state, torch.zeros(())
        if conditioning_BD is not None:
            repeated = conditioning_BD[:, :, None, None, None].repeat(1, 1, *maps[3].shape[2:])
            maps = [*maps[:3], torch.cat((maps[3], repeated), dim=1)]
        above = None
        for level in (5, 4, 3, 2):
            x = (maps[level - 2] * p[f"{prefix}time_pool{level}.weight"]).sum(2)
            x = F.conv2d(x, p[f"{prefix}lat_fpn_{level}.weight"], p[f"{prefix}lat_fpn_{level}.bias"])
            if above is not None:
                x = x + above.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            above = x
            x = F.conv2d(x, p[f"{prefix}out_fpn_{level}.weight"], p[f"{prefix}out_fpn_{level}.bias"], padding=1)
            for i in range(max(1, level - 2)):
                at = f"{prefix}upsampling{level}.{4 * i}"
                x = F.conv2d(x, p[f"{at}.weight"], padding=1)
                at = f"{prefix}upsampling{level}.{4 * i + 1}"
                x = F.group_norm(x, 32, p[f"{at}.weight"], p[f"{at}.bias"]).relu()
                if level > 2:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            total = total + x
        return F.conv2d(total, p[f"{prefix}predictor.weight"], p[f"{prefix}predictor.bias"])
