"""Render the motion set: every video and every list of both layouts, on all cores, from where the last run stopped."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from avsa.acquire.motion.film import draw_film, draw_look, write_avi
from avsa.acquire.motion.gestures import Start
from avsa.acquire.motion.layouts import LAYOUTS, Layout, Video
from avsa.config import Motion, MotionSet
from avsa.errors import UserError

MADE_BY = "motion.json"  # the configuration that the videos in a folder were rendered from


def render_motion(motion: Motion, root: Path, jobs: int = -1) -> None:
    """Render `root/ucf101` and `root/hmdb51`; the same bytes for any number of jobs.

    A video that exists is complete and is skipped. A folder rendered from another configuration is rendered anew; one
    that holds other videos, such as the real data set, is left as it is.

    Args:
        jobs: processes; -1 is one per core.

    Raises:
        UserError: `root` cannot be written.
    """
    try:
        for layout in LAYOUTS:
            folder = root / layout.name
            if _claim(motion, folder):
                _render(motion, layout, folder, jobs)
            else:
                tqdm.write(f"{folder} holds videos that were not rendered here: they are used as they are")
    except OSError as error:
        raise UserError(f"cannot write videos to {root}: {error.strerror or error}") from error


def _render(motion: Motion, layout: Layout, folder: Path, jobs: int) -> None:
    wanted: MotionSet = getattr(motion, layout.name)
    videos = layout.videos(wanted)
    for parent in {folder / video.path for video in videos}:
        parent.parent.mkdir(parents=True, exist_ok=True)
    missing = [video for video in videos if not (folder / video.path).exists()]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=8)(
        delayed(render_video)(motion, layout, video, folder) for video in missing
    )
    done = len(videos) - len(missing)
    for _ in tqdm(work, total=len(videos), initial=done, desc=f"render {layout.name}", unit="video"):
        pass
    for path, content in layout.lists(wanted).items():
        (folder / path).parent.mkdir(exist_ok=True)
        _write_text(folder / path, content)


def render_video(motion: Motion, layout: Layout, video: Video, folder: Path) -> None:
    """Draw and write one video; the videos of a group show the same thing in the same place."""
    key = (motion.seed, LAYOUTS.index(layout), video.action, video.group)
    look = draw_look(np.random.default_rng(key), motion.seed, motion.places)
    rng = np.random.default_rng((*key, video.clip))
    start = Start(*rng.random(len(Start._fields)))
    frames = round(rng.uniform(*motion.duration_s) * layout.fps)
    width = round(motion.height * 4 / 3 / 2) * 2
    action = layout.actions[video.action]
    video_THWC = draw_film(action, look, start, motion.height, width, np.arange(frames) / layout.fps)
    path = folder / video.path
    part = path.with_name(f".{path.name}.part")
    write_avi(part, video_THWC, layout.fps)
    os.replace(part, path)


def _claim(motion: Motion, folder: Path) -> bool:
    """Whether the folder may be rendered to; what was rendered there from other settings is deleted."""
    made_by, settings = folder / MADE_BY, motion.model_dump_json(indent=1) + "\n"
    if made_by.exists():
        if json.loads(made_by.read_text()) == json.loads(settings):
            return True
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(made_by, settings)
    return True


def _write_text(path: Path, content: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(content, encoding="utf-8")
    os.replace(part, path)
