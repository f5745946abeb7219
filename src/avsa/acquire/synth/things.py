"""The thing classes: each joins a figure, a motion and a voice through one rhythm."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avsa.acquire.synth import looks, sounds
from avsa.acquire.synth.looks import Figure, Pose
from avsa.acquire.synth.rhythm import Array, gate, strike, swell


@dataclass(frozen=True)
class Thing:
    """A class of objects.

    `beat(phase)` in [0, 1] is the loudness, the glow, and what moves `pose` and `figure`; `rate_hz` is the range that
    an instance's cycles per second are drawn from.
    """

    name: str
    rate_hz: tuple[float, float]
    beat: Callable[[Array], Array]
    figure: Callable[[Array, Array, Array, Array], Figure]
    pose: Callable[[Array, Array], Pose]
    voice: Callable[[Array, Array, int, np.random.Generator], Array]


def _twice(phase: Array) -> Array:
    """Strokes at both ends of a swing, which has one period for two of them."""
    return strike(2 * phase, 4.0)


def _landing(phase: Array) -> Array:
    return strike(phase, 5.0)


def _blaze(phase: Array) -> Array:
    return swell(phase) ** 2


THINGS = (
    Thing("drum", (1.6, 2.6), strike, looks.drum, looks.drum_pose, sounds.drum),
    Thing("bell", (0.8, 1.2), _twice, looks.bell, looks.bell_pose, sounds.bell),
    Thing("siren", (1.2, 2.0), swell, looks.siren, looks.siren_pose, sounds.siren),
    Thing("fan", (1.6, 2.6), swell, looks.fan, looks.fan_pose, sounds.fan),
    Thing("bird", (1.8, 2.8), swell, looks.bird, looks.bird_pose, sounds.bird),
    Thing("frog", (1.4, 2.2), _blaze, looks.frog, looks.frog_pose, sounds.frog),
    Thing("metronome", (0.8, 1.3), _twice, looks.metronome, looks.metronome_pose, sounds.metronome),
    Thing("beacon", (1.4, 2.2), gate, looks.beacon, looks.beacon_pose, sounds.beacon),
    Thing("ball", (1.5, 2.4), _landing, looks.ball, looks.ball_pose, sounds.ball),
    Thing("star", (1.6, 2.6), _blaze, looks.star, looks.star_pose, sounds.star),
    Thing("gear", (1.6, 2.6), strike, looks.gear, looks.gear_pose, sounds.gear),
    Thing("kettle", (1.6, 2.6), swell, looks.kettle, looks.kettle_pose, sounds.kettle),
)
