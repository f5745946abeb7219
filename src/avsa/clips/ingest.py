"""Raw recordings -> clip store: convert them in parallel, refuse what fails the checks, go on after an interruption."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from avsa.clips.assemble import Assembly
from avsa.clips.ledger import LEDGER
from avsa.clips.order import check_order
from avsa.clips.recordings import Recording, find_recordings
from avsa.clips.workers import convert_all
from avsa.config import Clips
from avsa.errors import UserError

FORMAT = 2  # of the store: a change makes half-finished work of older versions void


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did."""

    recordings: int
    resumed: int  # recordings that an interrupted run had finished
    clips: int
    duration_s: float  # of all clips
    splits: dict[str, int]  # clips per split
    refused: dict[str, int]  # refusals per check
    order: tuple[str, float, int] | None  # for channel_order auto: what it most probably is (`order.check_order`)


def ingest(raw: Path, out: Path, config: Clips, jobs: int = -1) -> IngestSummary:
    """Check the recordings in `raw` and write them as the clip store `out` (`avsa.clips.store`).

    What fails a check is listed in ``refused.jsonl`` and does not stop the rest. The store is the same bytes for any
    number of jobs, and after any number of interruptions: work under way lies in a hidden folder beside `out`, and the
    store changes only when all is done.

    Args:
        jobs: processes; -1 is one per core.

    Raises:
        UserError: nothing to ingest, an empty split, nothing that passes the checks, `out` cannot be written, no space
            left, or another ingest is at work there.
    """
    recordings = find_recordings(raw)
    out = out.resolve()
    try:
        work = _work_folder(out)
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another ingest is writing {out}: wait for it") from None
            return _ingest(recordings, raw, out, work, config, jobs)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left for {out}: nothing is lost, make room and run ingest again to continue"
            ) from error
        raise UserError(f"cannot write the clip store {out}: {error.strerror or error}") from error


def _work_folder(out: Path) -> Path:
    """Beside `out`, so that removing an unfinished store keeps the work; inside it where `out` is a disk of its own."""
    inside = out.is_dir() and out.stat().st_dev != out.parent.stat().st_dev
    return out / ".partial" if inside else out.with_name(f".{out.name}.partial")


def _ingest(recordings: list[Recording], raw: Path, out: Path, work: Path, config: Clips, jobs: int) -> IngestSummary:
    settings = f"{FORMAT}\n{config.model_dump_json()}"
    order = check_order(recordings, config.sample_rate) if config.channel_order == "auto" else None
    keys = [hashlib.sha256(f"{settings}\n{item.stamp()}".encode()).hexdigest()[:32] for item in recordings]
    assembly = Assembly(out, work, keys, config.shard_mb)
    resumed = len(assembly.entries)
    try:
        clips = sum(len(entry.clips) for entry in assembly.entries)
        refused = sum(len(entry.refused) for entry in assembly.entries)
        todo = list(zip(keys, recordings, strict=True))[resumed:]
        with tqdm(total=len(keys), initial=resumed, desc="ingest", unit="recording", smoothing=0) as bar:
            for key in convert_all(todo, config, work, jobs):
                entry = assembly.add(key, work / f"{key}.tar", work / f"{key}.json")
                clips, refused = clips + len(entry.clips), refused + len(entry.refused)
                bar.set_postfix(clips=clips, refused=refused, refresh=False)
                bar.update()
        entries = assembly.entries
        assembly.finish(raw / "classes.json")
    finally:
        assembly.close()
    summary = IngestSummary(
        recordings=len(recordings),
        resumed=resumed,
        clips=clips,
        duration_s=sum(clip.duration_s for entry in entries for clip in entry.clips),
        splits=dict(Counter(clip.split for entry in entries for clip in entry.clips)),
        refused=dict(Counter(refusal.check for entry in entries for refusal in entry.refused)),
        order=order,
    )
    if not clips:
        most = Counter(refusal.reason for entry in entries for refusal in entry.refused).most_common(1)
        raise UserError(
            f"none of {len(recordings)} recordings passes the checks, e.g. {most[0][0]}: see {out / LEDGER}"
        )
    return summary
