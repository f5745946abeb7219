"""Adam against its formula (Kingma and Ba 2015, algorithm 1, with L2 decay in the gradient)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avsa.engine.optim import adam, cosine, stepwise


def test_adam_is_its_formula_with_decay_on_every_parameter() -> None:
    layer = nn.Linear(3, 1).double()
    with torch.no_grad():
        layer.bias.fill_(5.0)
    optimiser = adam(layer.parameters(), weight_decay=0.1)
    expected = [p.detach().clone() for p in layer.parameters()]
    first = [torch.zeros_like(p) for p in expected]
    second = [torch.zeros_like(p) for p in expected]
    for step in range(1, 6):
        lr = 0.3 / step
        gradients = [torch.sin(step + torch.arange(p.numel(), dtype=p.dtype)).reshape(p.shape) for p in expected]
        for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimiser.param_groups[0]["lr"] = lr
        optimiser.step()
        for i, gradient in enumerate(gradients):
            decayed = gradient + 0.1 * expected[i]
            first[i] = 0.9 * first[i] + 0.1 * decayed
            second[i] = 0.999 * second[i] + 0.001 * decayed**2
            mean, variance = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            expected[i] = expected[i] - lr * mean / (variance.sqrt() + 1e-8)
    for parameter, wanted in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted)


def test_a_stepwise_rate_is_pytorchs() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5], gamma=0.3)
    ours = stepwise(0.2, [3, 5], 0.3)
    for step in range(8):
        assert ours(step) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


def test_a_cosine_rate_is_pytorchs() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=7)
    ours = cosine(0.2, 7)
    for step in range(8):
        assert ours(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        theirs.step()
