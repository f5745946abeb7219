"""Finding the recordings in a raw folder: video files, what lies beside them, their split and their name."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from avsa.errors import UserError

SPLITS = ("train", "val", "test")
VIDEO = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".webm")
AUDIO = (".m4a", ".wav", ".flac", ".ogg", ".opus", ".webm")
_LONGEST_NAME = 72  # leaves room for the clip number and the longest suffix within ustar's 100 bytes


@dataclass(frozen=True)
class Recording:
    """One video with what lies beside it; paths are absolute, `source` is the video's path below the raw folder."""

    source: str
    split: str
    name: str  # unique, of [A-Za-z0-9_-]: the stem of its clips' ids
    video: Path | None  # None for sound without a picture
    audio: Path | None  # None where the sound is in the video file
    labels: Path | None
    truth: Path | None

    def stamp(self) -> str:
        """Changes whenever one of the files does: size and modification time of each."""
        parts = [self.source, self.split, self.name]
        for path in (self.video, self.audio, self.labels, self.truth):
            try:
                status = path.stat() if path else None
            except OSError:
                status = None
            parts.append(f"{path and path.name}:{status and (status.st_size, status.st_mtime_ns)}")
        return "\n".join(parts)


def find_recordings(raw: Path) -> list[Recording]:
    """All recordings below `raw`, sorted by path.

    The first-level folder names the split where it is one of train, val, test; everything else is train. A file of
    sound belongs to the video of the same stem in the same folder.

    Raises:
        UserError: no such folder, no recording in it, or a split folder without one.
    """
    if not raw.is_dir():
        raise UserError(f"no folder of recordings at {raw}: check the path, or make the data first")
    files: dict[Path, list[Path]] = {}
    for folder, folders, names in os.walk(raw, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in {*VIDEO, *AUDIO} and not name.startswith("."):
                files.setdefault(path.with_suffix(""), []).append(path)
    found = [recording for stem, paths in files.items() for recording in _pair(raw, stem, paths)]
    if not found:
        raise UserError(f"no video in {raw}: looked for {', '.join(VIDEO)} in it and its folders")
    for split in SPLITS:
        if (raw / split).is_dir() and not any(recording.split == split for recording in found):
            raise UserError(f"split {split!r} is empty: no video in {raw / split}; fill the folder or remove it")
    return _with_unique_names(sorted(found, key=lambda recording: recording.source))


def _pair(raw: Path, stem: Path, paths: list[Path]) -> list[Recording]:
    videos = sorted((p for p in paths if p.suffix.lower() in VIDEO), key=lambda p: VIDEO.index(p.suffix.lower()))
    if len(videos) > 1 and videos[-1].suffix.lower() == ".webm":  # beside another video it is the sound
        videos.pop()
    sounds = [p for p in paths if p not in videos and p.suffix.lower() in AUDIO]
    sounds.sort(key=lambda p: AUDIO.index(p.suffix.lower()))
    labels, truth = Path(f"{stem}.segm.png"), Path(f"{stem}.json")
    recordings = []
    candidates: list[Path | None] = [*videos] or [None]
    for video in candidates:
        relative = (video or sounds[0]).relative_to(raw)
        split = relative.parts[0] if len(relative.parts) > 1 and relative.parts[0] in SPLITS else SPLITS[0]
        parts = relative.with_suffix("").parts
        if len(parts) > 1 and parts[1].startswith(f"{split}-"):
            parts = parts[1:]
        name = re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(parts))
        recordings.append(
            Recording(
                source=relative.as_posix(),
                split=split,
                name=name,
                video=video,
                audio=sounds[0] if sounds else None,
                labels=labels if labels.is_file() else None,
                truth=truth if truth.is_file() else None,
            )
        )
    return recordings


def _with_unique_names(recordings: list[Recording]) -> list[Recording]:
    count = Counter(recording.name for recording in recordings)
    unique = []
    for recording in recordings:
        name = recording.name
        if count[name] > 1 or len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(recording.source.encode()).hexdigest()[:8]}"
        unique.append(replace(recording, name=name))
    return unique
