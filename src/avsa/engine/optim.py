"""Optimiser and learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

Schedule = Callable[[int], float]
"""Learning rate as a function of the step (from 0) within a phase: nothing to save, nothing to restore."""


def constant(lr: float) -> Schedule:
    """The same learning rate at every step, as in the paper (supplement, training details)."""
    return lambda step: lr


def stepwise(lr: float, milestones: Iterable[int], factor: float = 0.1) -> Schedule:
    """The learning rate, multiplied by the factor from each milestone on; milestones are steps."""
    ends = tuple(milestones)
    return lambda step: lr * factor ** sum(step >= end for end in ends)


def cosine(lr: float, steps: int) -> Schedule:
    """The learning rate, along half a cosine down to 0 after ``steps`` (Loshchilov and Hutter 2017, equation 5)."""
    return lambda step: lr * (1 + math.cos(math.pi * step / steps)) / 2


def adam(parameters: Iterable[nn.Parameter], weight_decay: float) -> torch.optim.Adam:
    """Adam as in the paper: L2 weight decay (added to the gradient) on all parameters, biases and norms too.

    The loop sets the learning rate from a :data:`Schedule` before every step.
    """
    return torch.optim.Adam(parameters, weight_decay=weight_decay, fused=True)  # fused: one kernel for all parameters
