"""The actions: how a thing's place, angle and size change.

Lengths are in half picture heights, x to the right and y up from the middle; angles in radians, anticlockwise. Place,
angle and size have the same distribution at any time of any action: what drifts or grows begins anew at the other end.
All change evenly, so that half a second shows which action it is; what goes to and fro would look like a drift there.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avsa.acquire.synth.rhythm import Array

REACH = 0.7  # the middle of a thing's way lies within ± this, across and up
RADIUS = (0.3, 0.8)


@dataclass(frozen=True)
class Gesture:
    """What changes, evenly; 1 or −1 says which way, 0 that it does not."""

    right: int = 0  # 0.7 to 1.2 per second
    up: int = 0
    spin: int = 0  # 2 to 4 per second
    zoom: int = 0  # the size, by e^0.7 to e^1.1 in a second


ACTIONS = {
    "drift_left": Gesture(right=-1),
    "drift_right": Gesture(right=1),
    "rise": Gesture(up=1),
    "sink": Gesture(up=-1),
    "spin_left": Gesture(spin=1),
    "spin_right": Gesture(spin=-1),
    "approach": Gesture(zoom=1),
    "recede": Gesture(zoom=-1),
}


class Start(NamedTuple):
    """How an instance begins, and how fast it is; each value uniform in [0, 1)."""

    right: float
    up: float
    angle: float
    size: float
    rate: float


class Track(NamedTuple):
    """Where the thing is and how it is held at T times."""

    right_T: Array
    up_T: Array
    angle_T: Array
    radius_T: Array


def track(gesture: Gesture, start: Start, time_T: Array) -> Track:
    """The gesture, performed from a start."""
    way_T, turned_T = (0.7 + 0.5 * start.rate) * time_T, (2 + 2 * start.rate) * time_T
    low, high = np.log(RADIUS)
    grown_T = (0.7 + 0.4 * start.rate) / (high - low) * time_T

    def place(begin: float, sense: int) -> Array:
        along_T: Array = (2 * REACH * begin + sense * way_T) % (2 * REACH) - REACH
        return along_T

    return Track(
        place(start.right, gesture.right),
        place(start.up, gesture.up),
        2 * np.pi * start.angle + gesture.spin * turned_T,
        np.exp(low + (high - low) * ((start.size + gesture.zoom * grown_T) % 1)),
    )
