"""YT-360 as published: clips of 10 s cut from YouTube videos.

``video/ID-START.mp4`` with ``audio/ID-START.m4a``; optionally ``segmentation/ID-START/{things,stuff}-%04d.png``, also
in archives (`avsa.clips.sources.panoptic`). The split is that of the id in ``train.txt`` and ``test.txt``, lists of one
id per line; ``segmentation-classes.txt`` names the classes of the maps, 80 things and 54 stuff.
"""

from __future__ import annotations

import json
import re
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
    find_list,
    own_classes,
    read_lines,
    read_splits,
)
from avsa.clips.sources.panoptic import STUFF, THINGS, find_maps
from avsa.errors import UserError

DATASET = "yt360"
_CLIP = re.compile(rf"({YOUTUBE})-(\d+)")


def find(raw: Path, lists: Path) -> Found:
    """One recording per clip.

    Raises:
        UserError: the lists of the splits are missing, or an id is in both; a list or an archive is damaged.
    """
    paths = {split: find_list(f"{split}.txt", raw, lists, DATASET) for split in ("train", "test")}
    if missing := [split for split, path in paths.items() if path is None]:
        raise UserError(
            f"{raw} is laid out as YT-360 is published, and {missing[0]}.txt is missing, which says what is its split: "
            f"put it there or into {lists / DATASET}"
        )
    split_of = read_splits({split: path for split, path in paths.items() if path})
    sounds = {path.stem: path for path in _files(raw / "audio", AUDIO)}
    maps = find_maps(raw)
    found = []
    for video in _files(raw / "video", VIDEO):
        match = _CLIP.fullmatch(video.stem)
        origin, source = match[1] if match else "", f"video/{video.name}"
        reason = "" if match else "the name is not ID-START, such as yJtIK922yxg-54"
        if origin and origin not in split_of:
            reason = f"{origin} is neither in train.txt nor in test.txt"
        found.append(
            Recording(
                source=source,
                split=split_of.get(origin, "train"),
                name=re.sub(r"[^A-Za-z0-9_-]", "_", video.stem),
                video=video,
                audio=sounds.get(video.stem),
                labels=maps.get(video.stem) or beside(video, ".segm.png"),
                truth=beside(video, ".json"),
                origin=origin,
                refused=Refusal(source=source, check="split", reason=reason) if reason else None,
            )
        )
    return Found(found, read_classes(raw, lists) if maps else own_classes(raw))


def read_classes(raw: Path, lists: Path) -> bytes | None:
    """What ``classes.json`` says of the maps' classes, from the list of their names; None where there is no list.

    Raises:
        UserError: the list does not have 134 names.
    """
    path = find_list("segmentation-classes.txt", raw, lists, DATASET)
    if path is None:
        return None
    names = [name for _, name in read_lines(path)]
    if len(names) != THINGS + STUFF:
        raise UserError(f"{path} has {len(names)} names: {THINGS} things and {STUFF} stuff are expected")
    return json.dumps({"things": names[:THINGS], "stuff": names[THINGS:]}, indent=1).encode()


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))


def _recognise(raw: Path) -> bool:
    folders = raw / "video", raw / "audio"
    return all(path.is_dir() for path in folders) and any(_CLIP.fullmatch(path.stem) for path in folders[0].iterdir())


LAYOUT = Layout("yt360", "folders video and audio of ID-START files, as YT-360 is published", _recognise, find)
