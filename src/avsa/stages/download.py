"""The stage ``download``: listed videos into the raw folder, and how much of the lists is there."""

from __future__ import annotations

from pathlib import Path

from avsa.acquire.youtube.download import download
from avsa.acquire.youtube.downloads import Downloads
from avsa.acquire.youtube.lists import read_lists
from avsa.acquire.youtube.summary import MISSING, summarise
from avsa.clips.recordings import LISTS
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.tracking.run import stage_run


def run_download(resolved: Resolved, limit: int | None, again: bool, summary_only: bool) -> None:
    """Fetch what is missing, unless only the summary is wanted; print the summary, also of a run that is cut short."""
    config, raw = resolved.config, paths.raw(resolved.config)
    lists = read_lists(LISTS / config.dataset)
    if summary_only:
        _tell(raw, summarise(lists, Downloads(raw), config.clips.clip_s).lines())
        return
    with stage_run(resolved, "download", "download") as run:
        try:
            download(lists, raw, config.download, limit, again)
        finally:
            summary = summarise(lists, Downloads(raw), config.clips.clip_s)
            _tell(raw, summary.lines())
        for one in summary.splits:
            run.log({f"{one.name}/videos": one.videos, f"{one.name}/hours": summary.hours(one.clips)}, step=0)


def _tell(raw: Path, lines: list[str]) -> None:
    print("\n".join(lines))
    if raw.is_dir():
        print(f"each missing one, and why: {raw / MISSING}")
