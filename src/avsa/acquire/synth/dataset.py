"""Render the data set: every scene of every split as files, on all cores, from where the last run stopped."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from avsa import config
from avsa.acquire.synth.media import write_audio, write_video
from avsa.acquire.synth.picture import CLASSES, draw
from avsa.acquire.synth.places import build_place
from avsa.acquire.synth.rhythm import Array
from avsa.acquire.synth.scene import SPLITS, Scene, draw_scene
from avsa.acquire.synth.soundfield import mix
from avsa.acquire.synth.things import THINGS
from avsa.errors import UserError

MADE_BY = "synth.json"  # the configuration that the files in a folder were rendered from


def render_dataset(synth: config.Synth, out: Path, jobs: int = -1) -> None:
    """Render all scenes to `out/<split>/<id>.{mp4,m4a,segm.png,json}`, and `out/classes.json`.

    A scene whose .json exists is complete and is skipped; the files are the same bytes for any number of jobs. A new
    folder is rendered under a hidden name beside it and takes its name when it is complete: a pipeline that removes
    unfinished outputs leaves it what it has.

    Args:
        jobs: processes; -1 is one per core.

    Raises:
        UserError: `out` holds other recordings or scenes of other settings, or cannot be written.
    """
    try:
        if out.exists():
            _render(synth, out, jobs)
            return
        unfinished = out.with_name(f".{out.name}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        if not _is_of(synth, unfinished):
            shutil.rmtree(unfinished)
            unfinished.mkdir()
        _render(synth, unfinished, jobs)
        unfinished.replace(out)
    except OSError as error:
        raise UserError(f"cannot write scenes to {out}: {error.strerror or error}") from error


def _render(synth: config.Synth, out: Path, jobs: int) -> None:
    if not _is_of(synth, out):
        raise UserError(f"{out} holds other recordings, or scenes of other settings: delete it or choose another")
    _write_text(out / MADE_BY, synth.model_dump(mode="json"))
    _write_text(out / "classes.json", CLASSES)
    wanted = [(split, index) for split in SPLITS for index in range(getattr(synth, split))]
    for split in {split for split, _ in wanted}:
        (out / split).mkdir(exist_ok=True)
    missing = [(split, index) for split, index in wanted if not _truth_path(out, split, index).exists()]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=8)(
        delayed(render_scene)(synth, split, index, out / split) for split, index in missing
    )
    for _ in tqdm(work, total=len(wanted), initial=len(wanted) - len(missing), desc="render", unit="scene"):
        pass


def render_scene(synth: config.Synth, split: str, index: int, folder: Path) -> None:
    """Render one scene into `folder`; the .json comes last and says that the scene is complete."""
    scene = draw_scene(synth, split, index)
    place = build_place(synth.seed, scene.place, synth.height)
    frames = round(scene.duration_s * synth.fps)
    time_T = np.arange(frames) / synth.fps
    video_THWC, labels_THW = draw(scene, place, synth.height, time_T)
    labelled = label_frames(synth)
    parts = {name: folder / f".{scene.id}.{name}.part" for name in ("mp4", "m4a", "segm.png")}
    write_video(parts["mp4"], video_THWC, synth.fps)
    write_audio(parts["m4a"], mix(scene, place, synth), synth.sample_rate)
    Image.fromarray(labels_THW[labelled].reshape(-1, labels_THW.shape[2])).save(parts["segm.png"], format="png")
    for name, part in parts.items():
        os.replace(part, folder / f"{scene.id}.{name}")
    _write_text(folder / f"{scene.id}.json", truth(scene, time_T[labelled], synth.label_fps))


def label_frames(synth: config.Synth) -> list[int]:
    """The video frames nearest to i / label_fps, for which there are label maps and directions."""
    count = max(1, round(synth.duration_s * synth.label_fps))
    last = round(synth.duration_s * synth.fps) - 1
    return [min(round(i * synth.fps / synth.label_fps), last) for i in range(count)]


def truth(scene: Scene, time_L: Array, label_fps: float) -> dict[str, Any]:
    """The scene's ground truth: tracks in radians at the label maps' times."""
    objects = []
    for item in scene.objects:
        azimuth, elevation = item.direction(time_L)
        objects.append(
            {
                "class": THINGS[item.kind].name,
                "class_id": item.kind,
                "sounding": item.sounding,
                "azimuth": np.round(azimuth, 5).tolist(),
                "elevation": np.round(elevation, 5).tolist(),
                "radius": round(item.radius, 5),
                "level_db": round(item.level_db, 2),
                "beat_hz": round(item.beat_hz, 4),
                "phase": round(item.phase, 4),
            }
        )
    ambience = None if scene.ambience_db is None else round(scene.ambience_db, 2)
    return {
        "id": scene.id, "split": scene.split, "label_fps": label_fps, "time_s": np.round(time_L, 5).tolist(),
        "place": scene.place, "ambience_db": ambience, "objects": objects,
    }  # fmt: skip


def _truth_path(out: Path, split: str, index: int) -> Path:
    return out / split / f"{split}-{index:05d}.json"


def _is_of(synth: config.Synth, out: Path) -> bool:
    """Whether the folder's scenes, if it has any, come from these settings; only the number of scenes may grow."""
    if not (out / MADE_BY).exists():
        return not any(out.iterdir())
    settings, before = synth.model_dump(mode="json"), json.loads((out / MADE_BY).read_text())
    grown = all(before.pop(split) <= settings.pop(split) for split in SPLITS)
    return grown and before == settings


def _write_text(path: Path, content: Any) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)
