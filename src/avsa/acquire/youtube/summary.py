"""How much of a list is there, in hours of clips, and what is missing and why. Needs no network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from avsa.acquire.youtube.downloads import Downloads, here
from avsa.acquire.youtube.lists import Item, Lists
from avsa.clips.convert import write_atomically
from avsa.clips.segments import TAIL_S

MISSING = "missing.tsv"
NOT_TRIED, LOST = "not tried", "files missing"


@dataclass
class Split:
    """Counts of one split. Clips are the listed ones, those only that end before their video does."""

    name: str
    videos: int = 0
    listed_videos: int = 0
    clips: int = 0
    listed_clips: int = 0
    missing: Counter[str] = field(default_factory=Counter)  # state -> videos
    missing_clips: Counter[str] = field(default_factory=Counter)  # state -> listed clips


@dataclass(frozen=True)
class Summary:
    """Of all splits; `clip_s` is a clip's length in seconds."""

    splits: list[Split]
    clip_s: float

    def hours(self, clips: int) -> float:
        return clips * self.clip_s / 3600

    def lines(self) -> list[str]:
        """As a table; hours are those of clips, not of whole videos."""
        rows = ["split     videos        clips           hours of clips"]
        for one in self.splits:
            videos = f"{one.videos} of {one.listed_videos}"
            clips = f"{one.clips} of {one.listed_clips}"
            hours = f"{self.hours(one.clips):.2f} of {self.hours(one.listed_clips):.2f}"
            rows.append(f"{one.name:<9} {videos:<13} {clips:<15} {hours}")
        for one in self.splits:
            for state, count in one.missing.most_common():
                hours = f"{self.hours(one.missing_clips[state]):.2f} h of clips"
                rows.append(f"missing in {one.name}: {count} {state}, {hours}")
        return rows


def summarise(lists: Lists, downloads: Downloads, clip_s: float) -> Summary:
    """Compare the lists with the ledger and with the files that are there; write ``missing.tsv`` beside the ledger.

    A video without listed segments counts as all clips that fit in it, back to back.

    Raises:
        OSError: the list of what is missing cannot be written.
    """
    raw = downloads.path.parent
    splits = {name: Split(name) for name in dict.fromkeys(lists.splits.values())}
    rows = ["id\tsplit\tstate\tclips\terror"]
    for item in lists:
        one, starts = splits[item.split], lists.segments.get(item.id)
        state, error, duration_s = _state(item, downloads, raw)
        wanted = len(starts) if starts is not None else int(duration_s // clip_s)
        one.listed_videos += 1
        one.listed_clips += wanted
        if state == "ok":
            one.videos += 1
            one.clips += wanted if starts is None else sum(s + clip_s <= duration_s + TAIL_S for s in starts)
            continue
        one.missing[state] += 1
        one.missing_clips[state] += wanted
        rows.append("\t".join([item.id, item.split, state, str(wanted), " ".join(error.split())]))
    if raw.is_dir():
        write_atomically(raw / MISSING, "".join(f"{row}\n" for row in rows).encode())
    return Summary(list(splits.values()), clip_s)


def _state(item: Item, downloads: Downloads, raw: Path) -> tuple[str, str, float]:
    record = downloads.records.get(item.id)
    if record is None:
        return NOT_TRIED, "", 0.0
    if record.state == "ok" and not here(record, raw):
        return LOST, "", record.duration_s or 0.0
    return record.state, record.error, record.duration_s or 0.0
