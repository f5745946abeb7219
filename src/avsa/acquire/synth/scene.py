"""What is in a scene: pure data, drawn from (seed, split, index) and nothing else."""

import math
from dataclasses import dataclass, replace

import numpy as np

from avsa import config
from avsa.acquire.synth.rhythm import Array
from avsa.acquire.synth.things import THINGS
from avsa.geometry.sphere import angular_distance

SPLITS = ("train", "val", "test")
GAP = math.radians(2)  # between the rims of two objects
TRIES = 200  # positions tried for an object before it is left out


@dataclass(frozen=True)
class SceneObject:
    """A thing on its way over the sphere; angles in radians, `phase` in cycles."""

    kind: int  # index into THINGS
    sounding: bool
    radius: float
    azimuth: float  # at t = 0
    azimuth_speed: float  # per second
    elevation: float  # the middle of its swing
    elevation_swing: float
    elevation_hz: float
    elevation_phase: float
    beat_hz: float
    phase: float
    hue: float  # of its own colours, in [0, 1)
    level_db: float  # against the other objects

    def direction(self, time_s: Array) -> tuple[Array, Array]:
        """Azimuth in [−π, π) and elevation at the given times."""
        turned = self.azimuth + self.azimuth_speed * time_s
        swing = np.sin(2 * np.pi * (self.elevation_hz * time_s + self.elevation_phase))
        return (turned + np.pi) % (2 * np.pi) - np.pi, self.elevation + self.elevation_swing * swing

    def phases(self, time_s: Array) -> Array:
        """Cycles done at the given times; they drive picture and sound alike."""
        cycles: Array = self.beat_hz * time_s + self.phase
        return cycles


@dataclass(frozen=True)
class Scene:
    """One recording. `noise_seed` is what the randomness inside its sounds is drawn from."""

    id: str
    split: str
    index: int
    duration_s: float
    place: int
    yaw: float  # of the place's look, radians
    light: float  # factor on the place's brightness
    hues: tuple[float, float, float]  # of the place's sky, backdrop and ground, in [0, 1)
    clock_s: float  # where the place's own motion stands at t = 0
    ambience_db: float | None  # against the objects' sum; None is a silent place
    loudness_db: float  # of W over the whole recording, against full scale
    noise_seed: tuple[int, ...]
    objects: tuple[SceneObject, ...]


def draw_scene(synth: config.Synth, split: str, index: int) -> Scene:
    """The scene `index` of a split. Classes do not repeat within a scene, so a sound has one possible source."""
    key = (synth.seed, SPLITS.index(split), index)
    rng = np.random.default_rng(key)
    sounding = int(rng.integers(synth.objects[0], synth.objects[1] + 1))
    silent = int(rng.integers(synth.distractors[0], synth.distractors[1] + 1))
    kinds = rng.permutation(len(THINGS))[: sounding + silent]
    times = np.linspace(0, synth.duration_s, 13)
    objects: list[SceneObject] = []
    for position, kind in enumerate(kinds):
        found = _draw_object(rng, synth, int(kind), position < sounding, objects, times)
        if found is not None:
            objects.append(found)
    sounds = rng.random() < synth.ambience_share
    return Scene(
        id=f"{split}-{index:05d}",
        split=split,
        index=index,
        duration_s=synth.duration_s,
        place=int(rng.integers(synth.places)),
        yaw=float(rng.uniform(-np.pi, np.pi)),
        light=float(rng.uniform(0.94, 1.06)),
        hues=(rng.random(), rng.random(), rng.random()),
        clock_s=float(rng.uniform(0, 60)),
        ambience_db=float(synth.ambience_db + rng.uniform(-1, 1) * synth.ambience_spread_db) if sounds else None,
        loudness_db=float(rng.uniform(-24, -18)),
        noise_seed=(*key, 1),
        objects=tuple(objects),
    )


def _draw_object(
    rng: np.random.Generator,
    synth: config.Synth,
    kind: int,
    sounding: bool,
    others: list[SceneObject],
    times: Array,
) -> SceneObject | None:
    """An object whose track keeps clear of the others', or None where there is no room."""
    candidate = SceneObject(
        kind=kind,
        sounding=sounding,
        radius=math.radians(rng.uniform(*synth.radius_deg)),
        azimuth=0.0,
        azimuth_speed=0.0,
        elevation=0.0,
        elevation_swing=math.radians(rng.uniform(0, 10)),
        elevation_hz=rng.uniform(0.1, 0.4),
        elevation_phase=rng.random(),
        beat_hz=rng.uniform(*THINGS[kind].rate_hz),
        phase=rng.random(),
        hue=rng.random(),
        level_db=rng.uniform(-2, 2),
    )
    for _ in range(TRIES):
        elevation = math.asin(rng.uniform(-1, 1) * math.sin(math.radians(40)))
        speed = math.radians(rng.uniform(-40, 40)) / math.cos(elevation)
        azimuth = rng.uniform(-np.pi, np.pi)
        placed = replace(candidate, azimuth=azimuth, azimuth_speed=speed, elevation=elevation)
        if all(_clear(placed, other, times) for other in others):
            return placed
    return None


def _clear(one: SceneObject, other: SceneObject, times: Array) -> bool:
    apart = angular_distance(*one.direction(times), *other.direction(times))
    return float(apart.min()) > one.radius + other.radius + GAP
