"""Finding the recordings in a raw folder, whatever data set's layout it has."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from avsa.clips.ledger import Refusal
from avsa.clips.sources import downloaded, folder, sphere360, starss23, yt360
from avsa.clips.sources.layout import AUDIO, SPLITS, VIDEO, Found, Layout, Recording
from avsa.errors import UserError

__all__ = ["AUDIO", "LAYOUTS", "VIDEO", "Listing", "Recording", "find_recordings", "list_recordings"]

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (yt360.LAYOUT, downloaded.LAYOUT, starss23.LAYOUT, sphere360.LAYOUT, folder.LAYOUT)
}
"""By their names; recognised in this order, the last fits every folder."""

LISTS = Path("data/lists")
"""Where lists of splits, segments and classes lie, a folder per data set."""

_LONGEST_NAME = 72  # leaves room for the clip's number and the longest suffix within ustar's 100 bytes


@dataclass(frozen=True)
class Listing(Found):
    """What was found, and by which layout."""

    layout: Layout = folder.LAYOUT

    def describe(self) -> str:
        """One line: the layout and how many recordings each split has."""
        splits = Counter(recording.split for recording in self.recordings)
        counts = ", ".join(f"{split} {splits[split]}" for split in SPLITS if split in splits)
        return f"layout {self.layout.name} ({self.layout.sign}): {len(self.recordings)} recordings, {counts}"


def list_recordings(raw: Path, layout: str = "auto", lists: Path = LISTS) -> Listing:
    """All recordings below `raw`, sorted by path, with unique names.

    Args:
        layout: a name among `LAYOUTS`, or ``auto``: the first that recognises the folder.
        lists: folder of lists (`LISTS`), for layouts that need some and do not hold them.

    Raises:
        UserError: no such folder, or what its layout has against it.
    """
    if not raw.is_dir():
        raise UserError(f"no folder of recordings at {raw}: check the path, or make the data first")
    chosen = LAYOUTS[layout] if layout != "auto" else next(one for one in LAYOUTS.values() if one.recognise(raw))
    found = chosen.find(raw, lists)
    if not found.recordings:
        raise UserError(f"no recording in {raw}, which is read as layout {chosen.name}: {chosen.sign} are expected")
    recordings = sorted(map(_legible, found.recordings), key=lambda recording: recording.source)
    return Listing(_with_unique_names(recordings), found.classes, chosen)


def find_recordings(raw: Path) -> list[Recording]:
    """The recordings of `list_recordings`."""
    return list_recordings(raw).recordings


def _legible(recording: Recording) -> Recording:
    """The recording, refused if its path is no UTF-8, which manifest and ledger cannot hold."""
    try:
        recording.source.encode()
        return recording
    except UnicodeEncodeError:
        source = recording.source.encode("utf-8", "replace").decode()
        reason = "its name is not UTF-8: rename it"
        return replace(recording, source=source, refused=Refusal(source=source, check="media", reason=reason))


def _with_unique_names(recordings: list[Recording]) -> list[Recording]:
    count = Counter(recording.name for recording in recordings)
    unique = []
    for recording in recordings:
        name = recording.name
        if count[name] > 1 or len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(recording.source.encode()).hexdigest()[:8]}"
        unique.append(replace(recording, name=name))
    return unique
