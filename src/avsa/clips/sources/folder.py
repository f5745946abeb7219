"""Any folder: a file of sound belongs to the video of the same stem beside it.

``[train|val|test]/…/NAME.mp4`` with its sound in it or as ``NAME.m4a`` (``.wav``, ``.webm``, …), and optionally
``NAME.segm.png`` (label maps one below the other) and ``NAME.json`` (truth). The first-level folder names the split
where it is one of train, val, test; everything else is train.
"""

from __future__ import annotations

import re
from pathlib import Path

from avsa.clips.sources.layout import (
    AUDIO,
    SPLITS,
    VIDEO,
    Found,
    Layout,
    Recording,
    beside,
    media_files,
    own_classes,
    youtube_id,
)
from avsa.errors import UserError


def find(raw: Path, lists: Path) -> Found:
    """All recordings below `raw`.

    Raises:
        UserError: no recording in it, or a split folder without one.
    """
    files: dict[Path, list[Path]] = {}
    for path in media_files(raw):
        files.setdefault(path.with_suffix(""), []).append(path)
    found = [recording for stem, paths in files.items() for recording in pair(raw, stem, paths)]
    if not found:
        raise UserError(f"no video in {raw}: looked for {', '.join(VIDEO)} in it and its folders")
    for split in SPLITS:
        if (raw / split).is_dir() and not any(recording.split == split for recording in found):
            raise UserError(f"split {split!r} is empty: no video in {raw / split}; fill the folder or remove it")
    return Found(found, own_classes(raw))


def pair(raw: Path, stem: Path, paths: list[Path]) -> list[Recording]:
    """The recordings of files that share a folder and a stem: each video with the sound."""
    videos = sorted((p for p in paths if p.suffix.lower() in VIDEO), key=lambda p: VIDEO.index(p.suffix.lower()))
    if len(videos) > 1 and videos[-1].suffix.lower() == ".webm":  # beside another video it is the sound
        videos.pop()
    sounds = [p for p in paths if p not in videos and p.suffix.lower() in AUDIO]
    sounds.sort(key=lambda p: AUDIO.index(p.suffix.lower()))
    recordings = []
    candidates: list[Path | None] = [*videos] or [None]
    for video in candidates:
        relative = (video or sounds[0]).relative_to(raw)
        split = relative.parts[0] if len(relative.parts) > 1 and relative.parts[0] in SPLITS else SPLITS[0]
        parts = relative.with_suffix("").parts
        if len(parts) > 1 and parts[1].startswith(f"{split}-"):
            parts = parts[1:]
        recordings.append(
            Recording(
                source=relative.as_posix(),
                split=split,
                name=re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(parts)),
                video=video,
                audio=sounds[0] if sounds else None,
                labels=beside(video or sounds[0], ".segm.png"),
                truth=beside(video or sounds[0], ".json"),
                origin=youtube_id(relative.stem),
            )
        )
    return recordings


LAYOUT = Layout("folder", "360° videos with their sound in them or beside them", lambda raw: True, find)
