"""The actions: how a thing's place, angle and size change.

Lengths are in half picture heights, x to the right and y up from the middle; angles in radians, anticlockwise.
Every action begins from the same distribution of place, angle and size, and comes back to it: what drifts or grows
begins anew at the other end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avsa.acquire.synth.rhythm import Array

REACH = 0.8  # the thing's middle stays within ± this, across and up
RADIUS = (0.28, 0.7)


class Track(NamedTuple):
    """Where the thing is and how it is held at T times."""

    right_T: Array
    up_T: Array
    angle_T: Array
    radius_T: Array


@dataclass(frozen=True)
class Start:
    """What an instance begins with; each value uniform in [0, 1)."""

    right: float
    up: float
    angle: float
    size: float
    phase: float
    rate: float


def _still(start: Start, time_T: Array) -> Track:
    low, high = np.log(RADIUS)
    return Track(
        np.full_like(time_T, (2 * start.right - 1) * REACH),
        np.full_like(time_T, (2 * start.up - 1) * REACH),
        np.full_like(time_T, 2 * np.pi * start.angle),
        np.full_like(time_T, np.exp(low + (high - low) * start.size)),
    )


def _drift(right: int, up: int, start: Start, time_T: Array) -> Track:
    """In a straight line, 0.7 to 1.2 half heights per second; at the end of its way the thing begins it anew."""
    still, way_T = _still(start, time_T), (0.7 + 0.5 * start.rate) * time_T
    across_T, along_T = (
        (place + step * way_T + REACH) % (2 * REACH) - REACH
        for place, step in ((still.right_T, right), (still.up_T, up))
    )
    return still._replace(right_T=across_T, up_T=along_T)


def _spin(sense: int, start: Start, time_T: Array) -> Track:
    """Evenly, 1.6 to 2.8 radians per second."""
    still = _still(start, time_T)
    return still._replace(angle_T=still.angle_T + sense * (1.6 + 1.2 * start.rate) * time_T)


def _zoom(sense: int, start: Start, time_T: Array) -> Track:
    """Ever nearer or farther: the size changes by e^0.6 to e^1 in a second, and begins anew at its limit."""
    low, high = np.log(RADIUS)
    share_T = (start.size + sense * (0.6 + 0.4 * start.rate) * time_T / (high - low)) % 1.0
    return _still(start, time_T)._replace(radius_T=np.exp(low + (high - low) * share_T))


def _wave(start: Start, time_T: Array) -> Array:
    """To and fro in [−1, 1], 1.4 to 2.4 times a second."""
    swung: Array = np.sin(2 * np.pi * ((1.4 + start.rate) * time_T + start.phase))
    return swung


def _shake(start: Start, time_T: Array) -> Track:
    still = _still(start, time_T)
    return still._replace(right_T=still.right_T + 0.2 * _wave(start, time_T))


def _nod(start: Start, time_T: Array) -> Track:
    still = _still(start, time_T)
    return still._replace(up_T=still.up_T + 0.2 * _wave(start, time_T))


def _swing(start: Start, time_T: Array) -> Track:
    still = _still(start, time_T)
    return still._replace(angle_T=still.angle_T + 0.6 * _wave(start, time_T))


def _pulse(start: Start, time_T: Array) -> Track:
    still = _still(start, time_T)
    return still._replace(radius_T=still.radius_T * np.exp(0.25 * _wave(start, time_T)))


ACTIONS: dict[str, Callable[[Start, Array], Track]] = {
    "drift_left": lambda start, time_T: _drift(-1, 0, start, time_T),
    "drift_right": lambda start, time_T: _drift(1, 0, start, time_T),
    "rise": lambda start, time_T: _drift(0, 1, start, time_T),
    "sink": lambda start, time_T: _drift(0, -1, start, time_T),
    "spin_left": lambda start, time_T: _spin(1, start, time_T),
    "spin_right": lambda start, time_T: _spin(-1, start, time_T),
    "approach": lambda start, time_T: _zoom(1, start, time_T),
    "recede": lambda start, time_T: _zoom(-1, start, time_T),
    "shake": _shake,
    "nod": _nod,
    "swing": _swing,
    "pulse": _pulse,
}
