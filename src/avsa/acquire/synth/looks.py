"""The figures of the things: silhouette and surface in the thing's own plane, and how it holds itself while it beats.

A figure works in the plane that touches the sphere in the thing's centre, x to the right and y up, in units of the
thing's radius; it stays inside the unit circle. It returns the signed distance to the outline (negative inside) and the
tone of the surface in [0, 1], a mix of the instance's two colours. Classes differ by form, surface and motion, never by
colour.

Shapes: the coordinates are T×h×w (frames × window), beats and phases T×1×1.
"""

from dataclasses import dataclass

import numpy as np

from avsa.acquire.synth.rhythm import Array, gate, ratchet, swell

Figure = tuple[Array, Array]


@dataclass(frozen=True)
class Pose:
    """How a figure is held: turned by `angle` (radians, anticlockwise), scaled, then shifted by (right, up)."""

    angle: Array | float = 0.0
    scale: Array | float = 1.0
    right: Array | float = 0.0
    up: Array | float = 0.0


def apply(pose: Pose, x: Array, y: Array) -> tuple[Array, Array]:
    """The figure's own coordinates of points in the plane."""
    x, y = x - pose.right, y - pose.up
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turned: tuple[Array, Array] = ((x * cos + y * sin) / pose.scale, (y * cos - x * sin) / pose.scale)
    return turned


def _soft(value: Array, width: float = 0.15) -> Array:
    """0 where the value is negative, 1 where it is positive, with a ramp between."""
    stepped: Array = np.clip(value / width + 0.5, 0, 1)
    return stepped


def _box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    edge: Array = np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)
    return edge


def _ellipse(x: Array, y: Array, a: float, b: float) -> Array:
    edge: Array = (np.hypot(x / a, y / b) - 1) * min(a, b)
    return edge


def _petals(x: Array, y: Array, count: int, inner: float, outer: float) -> Array:
    """A rosette: the radius swings between inner and outer `count` times around."""
    around = 0.5 + 0.5 * np.cos(count * np.arctan2(y, x))
    edge: Array = np.hypot(x, y) - (inner + (outer - inner) * around)
    return edge


def _spikes(x: Array, y: Array, count: int, inner: float, outer: float) -> Array:
    """A star polygon; 0.7 turns the distance along the radius into about the distance to the edge."""
    half = np.pi / count
    fold = np.abs((np.arctan2(x, y) + half) % (2 * half) - half)
    reach = inner * outer * np.sin(half) / (outer * np.sin(fold) + inner * np.sin(half - fold))
    edge: Array = 0.7 * (np.hypot(x, y) - reach)
    return edge


# Each pair: the figure, and the pose that it takes over its phase (cycles) and beat (its loudness now, 0 to 1).


def drum(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A round skin with rings, which jumps at every stroke."""
    radius = np.hypot(x, y)
    return radius - 0.92, _soft(np.cos(radius * 13.0), 0.8)


def drum_pose(phase: Array, beat: Array) -> Pose:
    return Pose(scale=0.72 + 0.34 * beat)


def bell(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A bell with a wide lip, swinging from side to side, struck at both ends."""
    flare = 0.34 + 0.42 * np.clip((0.55 - y) / 1.2, 0, 1) ** 2
    body = np.maximum(np.abs(x) - flare, np.abs(y + 0.05) - 0.7)
    clapper = np.hypot(x, y + 0.8) - 0.2
    return np.minimum(body, clapper), _soft(-0.35 - y) * _soft(y + 0.6) + _soft(-y - 0.72)


def bell_pose(phase: Array, beat: Array) -> Pose:
    return Pose(angle=0.7 * np.cos(2 * np.pi * phase))


def siren(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A round lamp whose lit half turns once in a cycle."""
    lit = np.cos(np.arctan2(y, x) - 2 * np.pi * phase)
    return np.hypot(x, y) - 0.95, np.maximum(_soft(lit, 0.4), 1.0 - _soft(np.hypot(x, y) - 0.3))


def siren_pose(phase: Array, beat: Array) -> Pose:
    return Pose()


def fan(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """Three broad blades round a hub."""
    hub = np.hypot(x, y) - 0.34
    return np.minimum(_petals(x, y, 3, 0.12, 1.0), hub), 1.0 - _soft(hub)


def fan_pose(phase: Array, beat: Array) -> Pose:
    return Pose(angle=2 * np.pi / 3 * phase)


def bird(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A small body between two wings that beat up and down."""
    lift = 0.75 * (2 * beat - 1) * np.abs(x)
    wings = _ellipse(x, y - lift + 0.12, 0.98, 0.34)
    body = _ellipse(x, y, 0.3, 0.56)
    return np.minimum(wings, body), 1.0 - _soft(body)


def bird_pose(phase: Array, beat: Array) -> Pose:
    return Pose()


def frog(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A broad body with two eyes on top, which puffs itself up."""
    body = _ellipse(x, y + 0.2, 0.92, 0.62)
    eyes = np.hypot(np.abs(x) - 0.5, y - 0.42) - 0.34
    pupils = np.hypot(np.abs(x) - 0.5, y - 0.45) - 0.17
    mouth = np.abs(y + 0.32 - 0.2 * x**2) - 0.09
    return np.minimum(body, eyes), np.maximum(1.0 - _soft(pupils), (1.0 - _soft(mouth)) * (np.abs(x) < 0.65))


def frog_pose(phase: Array, beat: Array) -> Pose:
    return Pose(scale=0.7 + 0.3 * beat)


def metronome(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A tall wedge with a pointer that goes to and fro."""
    body = np.maximum(np.abs(x) - (0.46 - 0.26 * y), np.abs(y) - 0.85)
    lean = 0.75 * np.cos(2 * np.pi * phase)
    across = x * np.cos(lean) + (y + 0.6) * np.sin(lean)
    along = (y + 0.6) * np.cos(lean) - x * np.sin(lean)
    pointer = np.maximum(np.abs(across) - 0.15, np.abs(along - 0.7) - 0.75)
    return np.minimum(body, pointer), 1.0 - _soft(pointer)


def metronome_pose(phase: Array, beat: Array) -> Pose:
    return Pose()


def beacon(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A square board of chequers that swap with every beep."""
    chequer = np.sin(np.pi * (x + 0.72) / 0.48) * np.sin(np.pi * (y + 0.72) / 0.48)
    return _box(x, y, 0.72, 0.72), _soft(chequer * (1 - 2 * gate(phase)), 0.4)


def beacon_pose(phase: Array, beat: Array) -> Pose:
    return Pose()


def ball(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A ball with slanting stripes that bounces."""
    return np.hypot(x, y) - 0.68, _soft(np.sin(7.0 * (x + y)), 0.6)


def ball_pose(phase: Array, beat: Array) -> Pose:
    return Pose(up=-0.32 + 0.64 * np.abs(np.sin(np.pi * phase)))


def star(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A star of five points that turns and blazes."""
    radius = np.hypot(x, y)
    return _spikes(x, y, 5, 0.48, 1.0), 1.0 - _soft(radius - 0.15 - 0.4 * beat)


def star_pose(phase: Array, beat: Array) -> Pose:
    return Pose(angle=2 * np.pi / 5 * phase + 0.3 * swell(phase))


def gear(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A toothed wheel with a cross of spokes, moving on tooth by tooth."""
    radius = np.hypot(x, y)
    teeth = _soft(np.cos(8 * np.arctan2(y, x)), 0.6)
    spokes = np.minimum(np.abs(x), np.abs(y)) - 0.13
    return radius - (0.74 + 0.24 * teeth), _soft(spokes) * _soft(0.58 - radius)


def gear_pose(phase: Array, beat: Array) -> Pose:
    return Pose(angle=-np.pi / 4 * ratchet(phase))


def kettle(x: Array, y: Array, phase: Array, beat: Array) -> Figure:
    """A cone with upright bars that shakes from side to side."""
    cone = np.maximum(np.abs(x) - 0.36 * (1.0 - 1.15 * y), np.abs(y) - 0.82)
    return cone, _soft(np.cos(10.5 * x), 0.6)


def kettle_pose(phase: Array, beat: Array) -> Pose:
    return Pose(right=0.26 * np.sin(2 * np.pi * phase), angle=-0.25 * np.sin(2 * np.pi * phase))
