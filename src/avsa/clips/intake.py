"""What goes into an ingest: the recordings of a raw folder, the names of their classes, and which of them leak."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from avsa.clips.leaks import LEAKS, Leak, find_leaks, refuse_leaks, warning
from avsa.clips.recordings import list_recordings
from avsa.clips.sources.layout import Recording
from avsa.config import Clips


@dataclass(frozen=True)
class Intake:
    """The recordings to convert, in order; the content of ``classes.json``; the ids that leak (`avsa.clips.leaks`)."""

    layout: str
    recordings: list[Recording]
    classes: bytes | None
    leaks: list[Leak]

    def beside(self) -> dict[str, bytes]:
        """What lies in the store beside its clips: name and content, which is empty where there is nothing."""
        leaks = "".join(leak.model_dump_json() + "\n" for leak in self.leaks)
        return {"classes.json": self.classes or b"", LEAKS: leaks.encode()}


def take_in(raw: Path, out: Path, config: Clips, lists: Path) -> Intake:
    """Find the recordings, say by which layout, and warn of leaks.

    Raises:
        UserError: as `list_recordings`.
    """
    listing = list_recordings(raw, config.layout, lists)
    print(f"{raw}: {listing.describe()}", file=sys.stderr)
    leaks, refuse = find_leaks(listing.recordings, lists, out.parent, out), config.leaks == "refuse"
    if leaks:
        print(warning(leaks, refuse), file=sys.stderr)
    recordings = refuse_leaks(listing.recordings, leaks) if refuse else listing.recordings
    return Intake(listing.layout.name, recordings, listing.classes, leaks)
