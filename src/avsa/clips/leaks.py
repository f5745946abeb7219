"""Recordings that are trained on here and tested on elsewhere, or the other way round.

Recordings are compared by their ids at the source (`Recording.origin`), YouTube's for most. Known are the clip stores
beside the one that is made, and the lists ``data/lists/<set>/{train,val,test}.txt``, in which the first word of a line
is an id or a clip ``ID_START``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from avsa.clips.ledger import Refusal
from avsa.clips.sources.layout import SPLITS, Recording, read_lines, youtube_id
from avsa.clips.store import MANIFEST

LEAKS = "leaks.jsonl"

Place = tuple[str, str]  # where an id is known from, and its split there


class Leak(BaseModel):
    """One line of the report: an id, its split here, and another set in whose split it is."""

    origin: str
    split: str
    other: str
    other_split: str


def find_leaks(recordings: list[Recording], lists: Path, stores: Path, own: Path) -> list[Leak]:
    """Ids of the recordings that another set tests on and we do not, or the other way round.

    Args:
        lists: folder of lists, a folder per set.
        stores: folder of clip stores; `own`, which is about to be made, does not count.
    """
    ours = {(recording.origin, recording.split) for recording in recordings if recording.origin}
    if not ours:
        return []
    wanted = {origin for origin, _ in ours}
    known: defaultdict[str, set[Place]] = defaultdict(set)
    for origin, place in [*_listed(lists), *_stored(stores, own)]:
        if origin in wanted:
            known[origin].add(place)
    return [
        Leak(origin=origin, split=split, other=other, other_split=other_split)
        for origin, split in sorted(ours)
        for other, other_split in sorted(known[origin])
        if (split == "test") != (other_split == "test")
    ]


def refuse_leaks(recordings: list[Recording], leaks: list[Leak]) -> list[Recording]:
    """The recordings, of which those that leak are refused."""
    leak_of = {(leak.origin, leak.split): leak for leak in leaks}

    def refused(recording: Recording) -> Recording:
        leak = leak_of.get((recording.origin, recording.split))
        if leak is None or recording.refused is not None:
            return recording
        reason = f"{leak.origin}, {leak.split} here, is {leak.other_split} in {leak.other}"
        return replace(recording, refused=Refusal(source=recording.source, check="leak", reason=reason))

    return [refused(recording) for recording in recordings]


def warning(leaks: list[Leak], refuse: bool) -> str:
    """One line for the user."""
    ids = {leak.origin for leak in leaks}
    places = sorted({f"{leak.other} ({leak.other_split})" for leak in leaks})
    what = "they are refused" if refuse else "clips.leaks=refuse leaves them out"
    return (
        f"warning: {len(ids)} id{'s' * (len(ids) > 1)} on the other side of a test in {', '.join(places[:3])}"
        f"{', …' * (len(places) > 3)}, such as {leaks[0].origin} ({leaks[0].split} here): {what}"
    )


def _listed(lists: Path) -> Iterator[tuple[str, Place]]:
    for path in sorted(lists.glob("*/*.txt")):
        if path.stem in SPLITS:
            for _, line in read_lines(path):
                word = line.split()[0]
                yield youtube_id(word) or word, (path.parent.as_posix(), path.stem)


def _stored(stores: Path, own: Path) -> Iterator[tuple[str, Place]]:
    for manifest in sorted(stores.glob(f"*/{MANIFEST}")):
        if manifest.parent.name.startswith(".") or manifest.parent.resolve() == own.resolve():
            continue
        with manifest.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    clip = json.loads(line)
                    origin = clip.get("origin") or youtube_id(Path(clip["source"]).stem)
                    yield origin, (manifest.parent.name, clip["split"])
                except (ValueError, KeyError, TypeError, AttributeError):  # a store of another version
                    break
