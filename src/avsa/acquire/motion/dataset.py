"""Render the motion set: every video and every list of both layouts, on all cores, from where the last run stopped."""

import json
import os
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
VIDEO = (".avi", ".mp4", ".mkv", ".webm", ".mpg", ".mov")


def render_motion(motion: Motion, root: Path, jobs: int = -1) -> None:
    """Render `root/ucf101` and `root/hmdb51`; the same bytes for any number of jobs.

    A video that exists is complete and is skipped. What was rendered from another configuration is rendered anew. A
    folder that holds anything else, such as the real data set, is left as it is from then on.

    Args:
        jobs: processes; -1 is one per core.

    Raises:
        UserError: `root` cannot be written, a record of what was rendered cannot be read.
    """
    try:
        for layout in LAYOUTS:
            folder = root / layout.name
            if _claim(motion, layout, folder):
                _render(motion, layout, folder, jobs)
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
    part = _part(path)
    write_avi(part, video_THWC, layout.fps)
    os.replace(part, path)


def _claim(motion: Motion, layout: Layout, folder: Path) -> bool:
    """Whether the folder may be rendered to; what was rendered there from other settings is deleted.

    A folder with a record is ours as long as it holds nothing but what the recorded settings name.

    Raises:
        UserError: a damaged record.
    """
    made_by = folder / MADE_BY
    if made_by.exists():
        text = made_by.read_text(encoding="utf-8", errors="replace")
        wanted: MotionSet = getattr(_recorded(made_by, text), layout.name)
        if other := _other(layout, wanted, folder):
            made_by.unlink()
            tqdm.write(
                f"{other} was not rendered here: {folder} is used as it is from now on; delete the videos and lists of "
                f"{layout.actions[0]} and the other rendered classes there, or all of it to render anew"
            )
            return False
        if json.loads(text) == motion.model_dump(mode="json"):
            return True
        _delete(layout, wanted, folder)
    elif folder.exists() and any(folder.iterdir()):
        tqdm.write(f"{folder} holds videos that were not rendered here: they are used as they are")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(made_by, motion.model_dump_json(indent=1) + "\n")
    return True


def _recorded(made_by: Path, text: str) -> Motion:
    try:
        return Motion.model_validate_json(text)
    except ValueError:
        raise UserError(
            f"{made_by}: not the settings of a rendering: delete {made_by.parent} to render anew, or this file alone "
            "if what lies beside it is to stay"
        ) from None


def _other(layout: Layout, wanted: MotionSet, folder: Path) -> Path | None:
    """A video or a list that rendering with these settings does not write, a list of another content among them."""
    videos, lists = {video.path for video in layout.videos(wanted)}, layout.lists(wanted)
    list_folders = {Path(path).parent for path in lists}
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(parent, name)
            own = path.relative_to(folder)
            if name.startswith("."):  # left by an interrupted rendering or by a file manager
                continue
            if own.as_posix() in lists:
                if path.read_text(encoding="utf-8", errors="replace") != lists[own.as_posix()]:
                    return path
            elif own.parent in list_folders or (own.suffix.lower() in VIDEO and own.as_posix() not in videos):
                return path
    return None


def _delete(layout: Layout, wanted: MotionSet, folder: Path) -> None:
    """Only files that these settings name, and parts of them."""
    for name in [*(video.path for video in layout.videos(wanted)), *layout.lists(wanted)]:
        for path in (folder / name, _part(folder / name)):
            path.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write_text(path: Path, content: str) -> None:
    part = _part(path)
    part.write_text(content, encoding="utf-8")
    os.replace(part, path)
