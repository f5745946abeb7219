"""Some held-out clips as pictures: what the networks see and hear, and where the sound comes from."""

from __future__ import annotations

import math
from pathlib import Path

from avsa.clips.clip import Clip
from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.draw import ViewSampler
from avsa.geometry.sphere import angular_distance
from avsa.report.page import Figure, SceneSheet
from avsa.report.pictures import (
    Heard,
    crop_card,
    degrees,
    level_picture,
    panorama_with_outlines,
    power_picture,
    viewpoint_features,
)
from avsa.report.scenes import Scene, load_scene
from avsa.report.style import CROPS

SHEETS, MAPS = 3, 6
_SPLITS = ("test", "val", "train")  # the first that the store has


def sheets(store: ClipStore, config: Config, folder: Path) -> list[SceneSheet]:
    """Clips with their crops and sound, drawn as for training but for mirroring and colours."""
    draw = ViewSampler(config.views)
    made = []
    for number, clip in enumerate(spread(store, SHEETS), start=1):
        scene = load_scene(store, clip, config.views.audio_s)
        views = draw(0, number).viewpoints
        features_KCTM = viewpoint_features(scene, views, config.audio)
        cards = []
        for k, features_CTM in enumerate(features_KCTM):
            azimuth, elevation = float(views.azimuth_BK[0, k]), float(views.elevation_BK[0, k])
            fov = round(math.degrees(float(views.fov_BK[0, k])))
            picture = crop_card(scene, views, k, features_CTM, folder / f"clip-{number}-crop-{k + 1}.png")
            cards.append(Figure(picture, f"{degrees(azimuth, elevation)}; {fov}° wide", CROPS[k % len(CROPS)]))
        panorama = panorama_with_outlines(scene, views, folder / f"clip-{number}-panorama.png")
        made.append(
            SceneSheet(clip.id, panorama, level_picture(features_KCTM[0], folder / f"clip-{number}-sound.png"), cards)
        )
    return made


def power_maps(store: ClipStore, config: Config, folder: Path) -> list[Figure]:
    """Power maps over panoramas, with the true directions where they are known."""
    made = []
    for number, clip in enumerate(spread(store, MAPS), start=1):
        scene = load_scene(store, clip, config.views.audio_s)
        path = folder / f"power-{number}.png"
        heard = power_picture(scene, path)
        found = f"estimated {degrees(heard.azimuth, heard.elevation)}{_error(scene, heard)}"
        made.append(Figure(path, f"{clip.id}: {found}; {heard.contrast_db:.0f} dB from dark to bright"))
    return made


def spread(store: ClipStore, count: int) -> list[Clip]:
    """`count` clips at equal distances over the held-out split."""
    split = next(split for split in (*_SPLITS, store[0].split) if any(clip.split == split for clip in store))
    clips = [clip for clip in store if clip.split == split]
    return [clips[i * len(clips) // count] for i in range(count)] if len(clips) > count else clips


def _error(scene: Scene, heard: Heard) -> str:
    """How far off the estimate is; with several sources there is no one direction to be off from."""
    if scene.sources is None:
        return "; truth not known"
    if len(scene.sources) != 1:
        return f"; {len(scene.sources)} things sound"
    source = scene.sources[0]
    off = angular_distance(heard.azimuth, heard.elevation, source.azimuth, source.elevation)
    return f"; one thing sounds, {round(math.degrees(float(off)))}° away"
