"""The places: what surrounds the objects, how it moves, and what the place itself sounds like.

All splits share the places, so that the sound of a place says which pictures it belongs to without saying where
anything is. Stuff classes differ by texture and motion only: a place's hues are every scene's own.

Shapes: H×W pixels, C = 3 colours; textures are H×(FINE·W), finer across so that slow drifts are smooth.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from avsa.acquire.synth.rhythm import Array
from avsa.geometry.sphere import direction_to_vector, pixel_directions

STUFF = ("sky", "foliage", "wall", "rock", "grass", "water", "sand", "paving")
BACKDROPS = ("foliage", "wall", "rock")
GROUNDS = ("grass", "water", "sand", "paving")
FINE = 4  # texture columns per pixel
LIGHT = ((0.50, 0.74), (0.16, 0.40), (0.28, 0.54))  # of sky, backdrop and ground

# Middle of each stuff's noise band in Hz; the place moves it by up to a quarter octave.
BAND_HZ = {
    "foliage": 2600.0, "wall": 180.0, "rock": 520.0, "grass": 3200.0, "water": 1100.0, "sand": 1800.0, "paving": 300.0,
}  # fmt: skip
DRIFT = {"sky": 0.10, "water": 0.16}  # radians per second around
SWAY = {"foliage": 0.035, "grass": 0.05}  # radians to and fro, at SWAY_HZ
SWAY_HZ = 0.7


@dataclass(frozen=True)
class Layer:
    """One stuff of a place: its region, and its texture on the whole panorama, moved by 0 … FINE−1 columns."""

    stuff: str
    region_HW: npt.NDArray[np.bool_]
    texture_FHW: npt.NDArray[np.uint8]  # grey levels
    light: tuple[float, float]  # brightness of the darkest and the brightest level


@dataclass(frozen=True)
class Place:
    """A place's look and sound. `bands_hz`: (low, high) of two noise bands of equal power."""

    layers: tuple[Layer, ...]
    labels_HW: npt.NDArray[np.uint8]  # index into STUFF
    bands_hz: tuple[tuple[float, float], ...]
    decay_s: float  # reverberation time (60 dB)


@lru_cache(maxsize=256)
def build_place(seed: int, number: int, height: int) -> Place:
    """Place `number` of a data set; the same for all scenes and splits. Panoramas are `height` × 2·`height`."""
    rng = np.random.default_rng((seed, 7919, number))
    fine = 2 * height * FINE
    azimuth, elevation = (t.numpy() for t in pixel_directions(height, fine))
    vector = direction_to_vector(azimuth, elevation).numpy()
    backdrop, ground = BACKDROPS[number % len(BACKDROPS)], GROUNDS[number // len(BACKDROPS) % len(GROUNDS)]
    top = 0.36 + 0.12 * _waves(rng, vector[height // 2], 4.0)[None, ::FINE]
    if backdrop == "wall":
        top = np.full_like(top, 0.4)
    level = elevation[:, ::FINE]
    regions = {
        "sky": level >= top,
        backdrop: (level < top) & (level >= -0.12),
        ground: (level < top) & (level < -0.12),
    }
    labels = np.select(list(regions.values()), [np.uint8(STUFF.index(stuff)) for stuff in regions])
    layers = []
    for (stuff, region), light in zip(regions.items(), LIGHT, strict=True):
        texture = _texture(stuff, rng, azimuth, elevation, vector)
        layers.append(Layer(stuff, region, np.stack([texture[:, part::FINE] for part in range(FINE)]), light))
    middles = [BAND_HZ[stuff] * 2 ** rng.uniform(-0.25, 0.25) for stuff in (backdrop, ground)]
    bands = tuple((middle / 1.2, middle * 1.2) for middle in middles)
    return Place(tuple(layers), labels, bands, float(rng.uniform(0.15, 0.5)))


def frames(place: Place, time_T: Array, yaw: float, hues: Sequence[float]) -> npt.NDArray[np.uint8]:
    """The surroundings as `frames_THWC` at the given times of the place's own clock, turned to the left by `yaw`.

    Args:
        hues: of sky, backdrop and ground, in [0, 1).
    """
    height, width = place.labels_HW.shape
    turn = round(yaw / (2 * np.pi) * width)
    video_THWC = np.empty((len(time_T), height, width, 3), np.uint8)
    for layer, hue in zip(place.layers, hues, strict=True):
        palette = _palette(hue, *layer.light)
        rows = np.flatnonzero(layer.region_HW.any(1))
        band = slice(rows[0], rows[-1] + 1)
        region = np.roll(layer.region_HW[band], -turn, 1)[..., None]
        where = True if region.all() else region
        moved = DRIFT.get(layer.stuff, 0.0) * time_T
        moved = moved + SWAY.get(layer.stuff, 0.0) * np.sin(2 * np.pi * SWAY_HZ * time_T)
        shift_T = np.round((moved / (2 * np.pi) * width + turn) * FINE).astype(int) % (FINE * width)
        for frame_HWC, shift in zip(video_THWC, shift_T, strict=True):
            whole, part = divmod(shift, FINE)
            seen = np.roll(layer.texture_FHW[part, band], -whole, 1)
            np.copyto(frame_HWC[band], palette[seen], where=where)
    return video_THWC


def labels(place: Place, yaw: float) -> npt.NDArray[np.uint8]:
    """Indices into STUFF, H×W, turned as in `frames`."""
    width = place.labels_HW.shape[1]
    turned: npt.NDArray[np.uint8] = np.roll(place.labels_HW, -round(yaw / (2 * np.pi) * width), 1)
    return turned


def _palette(hue: float, dark: float, bright: float) -> npt.NDArray[np.uint8]:
    colours = [colorsys.hsv_to_rgb(hue, 0.42 - 0.14 * n / 255, dark + (bright - dark) * n / 255) for n in range(256)]
    return np.round(np.array(colours) * 255).astype(np.uint8)


def _waves(rng: np.random.Generator, vector: Array, scale: float, count: int = 20) -> Array:
    """Smooth noise on the sphere of unit variance: plane waves through it, `scale` radians of phase per radian."""
    axes = rng.standard_normal((3, count))
    axes *= scale * rng.uniform(0.6, 1.4, count) / np.linalg.norm(axes, axis=0)
    phases = rng.uniform(0, 2 * np.pi, count)
    flat = vector.reshape(-1, 3).astype(np.float32) @ axes.astype(np.float32) + phases.astype(np.float32)
    summed: Array = np.cos(flat).sum(-1).reshape(vector.shape[:-1]) * np.float32((2 / count) ** 0.5)
    return summed


def _texture(
    stuff: str, rng: np.random.Generator, azimuth: Array, elevation: Array, vector: Array
) -> npt.NDArray[np.uint8]:
    """The grey levels of a stuff class on the whole sphere; only its own region is shown."""
    tangent = 1 / np.tan(np.clip(-elevation, 0.05, None))  # distance on the ground, in camera heights
    if stuff == "sky":
        cloud = _waves(rng, vector * (1, 1, 2), 5.0) + 0.5 * _waves(rng, vector, 13.0)
        level = 0.2 + 0.8 * np.clip(cloud, 0, 1)
    elif stuff == "foliage":
        level = np.clip(0.5 + 0.9 * _waves(rng, vector, 20.0) * (1.2 + _waves(rng, vector, 8.0)), 0, 1)
    elif stuff == "wall":
        row = elevation / 0.16
        column = azimuth / (2 * np.pi) * 18 + 0.5 * (np.floor(row) % 2)
        joint = (row % 1 < 0.22) | (column % 1 < 0.12)
        level = np.where(joint, 1.0, 0.25 + 0.15 * _waves(rng, vector, 6.0))
    elif stuff == "rock":
        level = 1 - np.abs(_waves(rng, vector, 7.0)) - 0.3 * np.abs(_waves(rng, vector, 18.0))
    elif stuff == "grass":
        blades = np.sin(azimuth * 40 + 2.5 * _waves(rng, vector, 12.0)) * np.clip(1.3 - 0.3 * tangent, 0.3, 1)
        level = 0.5 + 0.3 * blades + 0.2 * _waves(rng, vector, 20.0)
    elif stuff == "water":
        level = 0.5 + 0.4 * np.sin(11.0 * np.log(tangent) + 1.6 * _waves(rng, vector, 6.0))
    elif stuff == "sand":
        level = 0.5 + 0.35 * np.sin(7.0 * _waves(rng, vector, 2.0)) + 0.1 * _waves(rng, vector, 40.0)
    else:
        tiles = np.sign(np.sin(3.0 * tangent * np.cos(azimuth)) * np.sin(3.0 * tangent * np.sin(azimuth)))
        level = 0.5 + 0.4 * tiles * np.clip((6.0 - tangent) / 4, 0, 1)
    return np.round(np.clip(level, 0, 1) * 255).astype(np.uint8)
