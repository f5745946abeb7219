"""YT-360, or any list of YouTube ids, as it comes from a download: whole videos, of which the listed clips are cut.

``train/ID.mp4``, ``test/ID.mp4`` with the sound in the file or beside it, and ``segments.txt``: on each line an id and
the seconds at which its clips start, ``yJtIK922yxg 54,68,78,96``. Published label maps may lie beside as
``segmentation/ID-START/`` (`avsa.clips.sources.panoptic`).

``downloads.jsonl``, the ledger of `avsa download`, says in which order each video's channels are: YouTube gives some
with four channels, others with six.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

from avsa.clips.sources import folder
from avsa.clips.sources.layout import SPLITS, Found, Layout, Recording, one_split_each, own_classes, read_lines
from avsa.clips.sources.panoptic import PanopticMaps, find_maps
from avsa.clips.sources.yt360 import read_classes
from avsa.errors import UserError

_LIST, _LEDGER = "segments.txt", "downloads.jsonl"
_ORDERS = ("youtube-aac4", "youtube-aac6")  # others need not be told: ACN/SN3D is what is expected


def find(raw: Path, lists: Path) -> Found:
    """One recording per video, with its listed segments; where none are listed, ingest finds some.

    Raises:
        UserError: ``segments.txt`` is damaged, an id lies in two splits, or as `folder.find`.
    """
    segments = read_segments(raw / _LIST)
    maps, orders = find_maps(raw), read_orders(raw / _LEDGER)
    recordings = [
        _with_segments(recording, segments, maps, orders)
        for recording in folder.find(raw, lists).recordings
        if Path(recording.source).parts[0] in SPLITS
    ]
    one_split_each((recording.origin, recording.split) for recording in recordings)
    return Found(recordings, read_classes(raw, lists) if maps else own_classes(raw))


def _with_segments(
    recording: Recording, segments: dict[str, tuple[float, ...]], maps: dict[str, PanopticMaps], orders: dict[str, str]
) -> Recording:
    stem = Path(recording.source).stem
    starts = segments.get(stem)
    return replace(
        recording,
        origin=stem,
        name=re.sub(r"[^A-Za-z0-9_-]", "_", stem),
        segments=starts,
        segment_labels=tuple(maps.get(f"{stem}-{start:g}") for start in starts or ()),
        channel_order=orders.get(stem, ""),
    )


def read_orders(path: Path) -> dict[str, str]:
    """The channel order of the downloaded videos in which it is one of YouTube's own; nothing where there is no ledger.

    Of a mirror's AAC with four channels only the codec is known, which does not tell YouTube's order from ACN.
    """
    orders: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return orders
    for line in lines:
        try:
            record = json.loads(line)
            name, order = record["id"], record.get("channel_order")
            mirrored = not all(file.get("client") for file in record.get("files", []))
        except (ValueError, TypeError, KeyError, AttributeError):  # the last line of a killed run
            continue
        orders.pop(name, None)  # an id's last line counts
        if order in _ORDERS and not (mirrored and order == "youtube-aac4"):
            orders[name] = order
    return orders


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
