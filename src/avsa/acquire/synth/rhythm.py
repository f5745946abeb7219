"""Periodic gestures in [0, 1] that drive both the picture and the loudness of a thing.

Phases count cycles: one is a whole period, an integer is the start of a beat.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def strike(phase: Array, decay: float = 4.0, attack: float = 0.03) -> Array:
    """A sharp onset at each integer phase that dies away by exp(−decay) within the cycle; `attack` in cycles."""
    within = phase % 1.0
    risen: Array = np.exp(-decay * within) * np.minimum(within / attack, 1.0)
    return risen


def swell(phase: Array) -> Array:
    """A smooth rise and fall, 0 at integers and 1 between them."""
    raised: Array = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    return raised


def gate(phase: Array, edge: float = 0.06) -> Array:
    """On in the first half of the cycle, off in the second; `edge` is the ramp's length in cycles."""
    within = phase % 1.0
    opened: Array = np.clip(within / edge, 0, 1) * np.clip((0.5 + edge - within) / edge, 0, 1)
    return opened


def ratchet(phase: Array) -> Array:
    """Whole steps with rest between them: moves from n to n + 1 in the first 40 % of cycle n."""
    within = np.clip((phase % 1.0) / 0.4, 0, 1)
    stepped: Array = np.floor(phase) + within * within * (3 - 2 * within)
    return stepped
