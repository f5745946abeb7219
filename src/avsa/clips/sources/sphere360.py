"""Sphere360: YouTube videos with sound beside them, and lists of the 10 s clips of each split.

``train.txt`` and ``test.txt`` (in the folder itself, in ``split/`` or ``dataset/split/``) hold one clip per line,
``ID_START`` with the start in seconds. Pictures and sound are a pair of files of one stem in parallel folders, such as
``video/…/STEM.webm`` and ``audio/…/STEM.webm``, or beside each other. A stem is either an id, of whose whole video the
listed clips are cut, or a clip's ID_START, cut before.

Its authors declare the channel order W, X, Y, Z while YouTube delivers W, Y, Z, X: leave ``clips.channel_order`` at
auto, and the signal is asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from avsa.clips.ledger import Refusal
from avsa.clips.sources.layout import (
    AUDIO,
    VIDEO,
    YOUTUBE,
    Found,
    Layout,
    Recording,
    beside,
    media_files,
    one_split_each,
    own_classes,
    read_lines,
)
from avsa.errors import UserError

_CLIP = re.compile(rf"({YOUTUBE})_(\d+)")
_LISTS = (".", "split", "dataset/split")


def find(raw: Path, lists: Path) -> Found:
    """One recording per pair of files.

    Raises:
        UserError: no list of a split, a line in one that is no clip, or an id in two splits.
    """
    split_of, starts_of = _read_lists(raw)
    pictures: dict[str, Path] = {}
    sounds: dict[str, Path] = {}
    for path in media_files(raw):
        is_sound = "audio" in path.relative_to(raw).parts or path.suffix.lower() not in VIDEO
        if not is_sound and path.suffix.lower() == ".webm" and path.stem in pictures:  # beside another video
            is_sound = path.suffix.lower() in AUDIO
        (sounds if is_sound else pictures).setdefault(path.stem, path)
    found = [
        _recording(raw, stem, pictures.get(stem), sounds.get(stem), split_of, starts_of)
        for stem in sorted({*pictures, *sounds})
    ]
    return Found(found, own_classes(raw))


def _recording(
    raw: Path,
    stem: str,
    video: Path | None,
    audio: Path | None,
    split_of: dict[str, str],
    starts_of: dict[str, set[float]],
) -> Recording:
    cut = _CLIP.fullmatch(stem)
    origin = cut[1] if cut else stem
    path = video or audio
    assert path is not None
    source, reason = path.relative_to(raw).as_posix(), ""
    if origin not in split_of:
        reason = f"{origin} is in no split's list"
    elif cut and float(cut[2]) not in starts_of[origin]:
        reason = f"{stem} is in no split's list"
    return Recording(
        source=source,
        split=split_of.get(origin, "train"),
        name=re.sub(r"[^A-Za-z0-9_-]", "_", stem),
        video=video,
        audio=audio,
        labels=beside(path, ".segm.png"),
        truth=beside(path, ".json"),
        origin=origin,
        segments=None if cut else tuple(sorted(starts_of[origin])) if not reason else None,
        refused=Refusal(source=source, check="split", reason=reason) if reason else None,
    )


def _read_lists(raw: Path) -> tuple[dict[str, str], dict[str, set[float]]]:
    folder = _lists_of(raw)
    if folder is None:
        raise UserError(f"{raw} has no train.txt or test.txt of lines ID_START, as Sphere360 has them in dataset/split")
    pairs, starts_of = [], defaultdict[str, set[float]](set)
    for split in ("train", "test"):
        path = folder / f"{split}.txt"
        if not path.is_file():
            continue
        for number, line in read_lines(path):
            match = _CLIP.fullmatch(line)
            if match is None:
                raise UserError(
                    f"{path}, line {number}: a clip ID_START such as 530swnPWJrQ_17 is expected: {line[:60]}"
                )
            pairs.append((match[1], split))
            starts_of[match[1]].add(float(match[2]))
    return one_split_each(pairs), starts_of


def _lists_of(raw: Path) -> Path | None:
    """The folder of the lists, whose first lines are clips."""
    for folder in (raw / name for name in _LISTS):
        for path in (folder / "train.txt", folder / "test.txt"):
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    if _CLIP.fullmatch(file.readline().strip()):
                        return folder
    return None


LAYOUT = Layout(
    "sphere360",
    "pairs of video and sound, and split lists of lines ID_START",
    lambda raw: _lists_of(raw) is not None,
    find,
)
