"""YT-360, or any list of YouTube ids, as it comes from a download: whole videos, of which the listed clips are cut.

``train/ID.mp4``, ``test/ID.mp4`` with the sound in the file or beside it, and ``segments.txt``: on each line an id and
the seconds at which its clips start, ``yJtIK922yxg 54,68,78,96``. Published label maps may lie beside as
``segmentation/ID-START/`` (`avsa.clips.sources.panoptic`).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from avsa.clips.sources import folder
from avsa.clips.sources.layout import SPLITS, Found, Layout, Recording, one_split_each, own_classes, read_lines
from avsa.clips.sources.panoptic import PanopticMaps, find_maps
from avsa.clips.sources.yt360 import read_classes
from avsa.errors import UserError

_LIST = "segments.txt"


def find(raw: Path, lists: Path) -> Found:
    """One recording per video, with its listed segments; where none are listed, ingest finds some.

    Raises:
        UserError: ``segments.txt`` is damaged, an id lies in two splits, or as `folder.find`.
    """
    segments = read_segments(raw / _LIST)
    maps = find_maps(raw)
    recordings = [
        _with_segments(recording, segments, maps)
        for recording in folder.find(raw, lists).recordings
        if Path(recording.source).parts[0] in SPLITS
    ]
    one_split_each((recording.origin, recording.split) for recording in recordings)
    return Found(recordings, read_classes(raw, lists) if maps else own_classes(raw))


def _with_segments(
    recording: Recording, segments: dict[str, tuple[float, ...]], maps: dict[str, PanopticMaps]
) -> Recording:
    stem = Path(recording.source).stem
    starts = segments.get(stem)
    return replace(
        recording,
        origin=stem,
        name=re.sub(r"[^A-Za-z0-9_-]", "_", stem),
        segments=starts,
        segment_labels=tuple(maps.get(f"{stem}-{start:g}") for start in starts or ()),
    )


def read_segments(path: Path) -> dict[str, tuple[float, ...]]:
    """The sorted start seconds of every id's clips.

    Raises:
        UserError: it cannot be read, a line is not an id and seconds, or an id is there twice.
    """
    segments: dict[str, tuple[float, ...]] = {}
    for number, line in read_lines(path):
        name, *starts = re.split(r"[\s,]+", line.rstrip(","))
        try:
            seconds = sorted({float(start) for start in starts})
        except ValueError as error:
            raise UserError(f"{path}, line {number}: an id and seconds are expected ({error})") from None
        if not seconds or seconds[0] < 0 or not math.isfinite(sum(seconds)):
            raise UserError(f"{path}, line {number}: an id and the seconds at which its clips start are expected")
        if name in segments:
            raise UserError(f"{path}, line {number}: {name} is there twice")
        segments[name] = tuple(seconds)
    return segments


def _recognise(raw: Path) -> bool:
    return (raw / _LIST).is_file() and any((raw / split).is_dir() for split in SPLITS)


LAYOUT = Layout("downloaded", "folders train and test of whole videos, and segments.txt", _recognise, find)
