"""STARSS23 (https://zenodo.org/records/7880637): office scenes with tracked sources.

``foa_dev/dev-{train,test}-{sony,tau}/NAME.wav``, ``video_dev/…/NAME.mp4``, ``metadata_dev/…/NAME.csv``; the folder's
name says the split. A line of the metadata is: frame of 100 ms, class, number of the source, azimuth (positive to the
left) and elevation in whole degrees, and in later editions the distance in cm. Its sound is ACN/SN3D.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from avsa.clips.ledger import RefusedError
from avsa.clips.sources.layout import Found, Layout, Recording, beside, own_classes

CLASSES = (
    "female speech", "male speech", "clapping", "telephone", "laughter", "domestic sounds", "footsteps", "door",
    "music", "musical instrument", "water tap", "bell", "knock",
)  # fmt: skip
_FRAME_S = 0.1


def find(raw: Path, lists: Path) -> Found:
    """One recording per file of sound."""
    found = []
    for sound in sorted((raw / "foa_dev").glob("dev-*/*.wav")):
        group = sound.parent.name
        video = raw / "video_dev" / group / f"{sound.stem}.mp4"
        truth = raw / "metadata_dev" / group / f"{sound.stem}.csv"
        found.append(
            Recording(
                source=(video if video.is_file() else sound).relative_to(raw).as_posix(),
                split="test" if group.startswith("dev-test") else "train",
                name=re.sub(r"[^A-Za-z0-9_-]", "_", sound.stem),
                video=video if video.is_file() else None,
                audio=sound,
                labels=beside(video, ".segm.png"),
                truth=truth if truth.is_file() else None,
                origin=sound.stem,
            )
        )
    return Found(found, own_classes(raw))


def read_metadata(path: Path) -> dict[str, Any]:
    """The directions in the form that synth360's truth has: tracks in radians, None while a source is silent.

    One moment more than the file has follows its last, at which all are silent: what comes after is known, too.

    Raises:
        RefusedError: a line that is not as above.
        OSError: it cannot be read.
    """
    tracks: defaultdict[tuple[int, int], dict[int, list[int]]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        for row in lines:
            if row:
                frame, kind, number, *where = _numbers(row, f"{path.name}, line {lines.line_num}")
                tracks[kind, number][frame] = where
    frames = range(2 + max((max(track) for track in tracks.values()), default=-2))
    objects = []
    for (kind, number), track in sorted(tracks.items()):
        known = [track.get(frame) for frame in frames]
        item = {
            "class": CLASSES[kind],
            "class_id": kind,
            "number": number,
            "sounding": True,
            "azimuth": [where and round(math.radians(where[0]), 5) for where in known],
            "elevation": [where and round(math.radians(where[1]), 5) for where in known],
        }
        if any(where and len(where) > 2 for where in known):
            item["distance_m"] = [where[2] / 100 if where and len(where) > 2 else None for where in known]
        objects.append(item)
    return {"time_s": [round(frame * _FRAME_S, 5) for frame in frames], "objects": objects}


def _numbers(row: list[str], place: str) -> list[int]:
    try:
        numbers = [int(cell) for cell in row]
    except ValueError:
        raise RefusedError("truth", f"{place}: whole numbers are expected: {','.join(row)[:60]}") from None
    if len(numbers) not in (5, 6):
        expected = "frame, class, source, azimuth, elevation and perhaps distance"
        raise RefusedError("truth", f"{place}: {len(numbers)} columns; expected are {expected}", len(numbers), 5)
    frame, kind, _, azimuth, elevation = numbers[:5]
    if frame < 0 or not 0 <= kind < len(CLASSES) or abs(azimuth) > 180 or abs(elevation) > 90:
        raise RefusedError("truth", f"{place}: no frame, class or direction in degrees: {','.join(row)}")
    return numbers


LAYOUT = Layout("starss23", "folders foa_dev, video_dev and metadata_dev", lambda raw: (raw / "foa_dev").is_dir(), find)
