"""The audio network against functional calls written from the published description."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avsa.models.audio import AudioConv2D


def _reference(state: dict[str, Tensor], audio_BCTM: Tensor, training: bool) -> Tensor:
    def step(x: Tensor, conv: str, bn: str, stride: int, padding: int) -> Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var = state[f"{bn}.running_mean"].clone(), state[f"{bn}.running_var"].clone()
        return F.relu(F.batch_norm(x, mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"], training))

    x = step(audio_BCTM, "conv1.0", "conv1.1", 2, 3)
    for block, stride in (("block1", 1), ("block2", 2), ("block3", 2), ("block4", 1)):
        x = step(x, f"{block}.conv1", f"{block}.bn1", stride, 1)
        x = step(x, f"{block}.conv2", f"{block}.bn2", 1, 1)
    return x.flatten(2).max(dim=2).values


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("channels", "steps", "mels"), [(4, 100, 128), (7, 50, 40), (1, 33, 20)])
def test_equals_functional_calls(training: bool, channels: int, steps: int, mels: int) -> None:
    torch.manual_seed(0)
    net = AudioConv2D(channels, 0.125).double().train(training)
    for name, tensor in net.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif "running_mean" in name:
            tensor.normal_()
    audio = torch.randn(2, channels, steps, mels, dtype=torch.float64)
    wanted = _reference({k: v.clone() for k, v in net.state_dict().items()}, audio, training)
    assert wanted.shape == (2, 64)
    torch.testing.assert_close(net(audio), wanted, rtol=1e-9, atol=1e-9)
