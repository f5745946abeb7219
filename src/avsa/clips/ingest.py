"""Raw recordings -> clip store: convert them in parallel, refuse what fails the checks, go on after an interruption."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from avsa.clips.assemble import Assembly
from avsa.clips.intake import Intake, take_in
from avsa.clips.leaks import LEAKS
from avsa.clips.ledger import LEDGER
from avsa.clips.order import check_order
from avsa.clips.recordings import LISTS, Recording
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
    leaks: int  # ids that another set tests on, or trains on where this one tests (`leaks.jsonl`)
    order: tuple[str, float, int] | None  # for channel_order auto: what it most probably is (`order.check_order`)
    speed: float = field(compare=False)  # x real time per core: seconds of clips per second that a core took for them

    def __str__(self) -> str:
        hours, refused = self.duration_s / 3600, sum(self.refused.values())
        text = f"{self.clips} clips, {hours:.3g} h, of {self.recordings} recordings; {refused} refused"
        text += f"; {self.leaks} on the other side of a test elsewhere ({LEAKS})" if self.leaks else ""
        return f"{text}; {self.speed:.3g} x real time per core"


def ingest(
    raw: Path, out: Path, config: Clips, jobs: int = -1, cluster: str | None = None, lists: Path = LISTS
) -> IngestSummary:
    """Check the recordings in `raw` and write them as the clip store `out` (`avsa.clips.store`).

    What fails a check is listed in ``refused.jsonl`` and does not stop the rest. The store is the same bytes for any
    number of jobs, and after any number of interruptions: work under way lies in a hidden folder beside `out`, and the
    store changes only when all is done.

    Args:
        jobs: processes; -1 is one per core.
        cluster: address of a Dask scheduler whose workers convert instead (`avsa.clips.cluster`).
        lists: folder of lists of ids (`avsa.clips.recordings.LISTS`).

    Raises:
        UserError: nothing to ingest, an empty split, nothing that passes the checks, `out` cannot be written, no space
            left, another ingest is at work there, or the cluster cannot do it.
    """
    raw, out = raw.absolute(), out.resolve()  # workers of a cluster have working folders of their own
    intake = take_in(raw, out, config, lists)
    try:
        work = _work_folder(out)
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another ingest is writing {out}: wait for it") from None
            return _ingest(intake, out, work, config, jobs, cluster)
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


def _ingest(intake: Intake, out: Path, work: Path, config: Clips, jobs: int, cluster: str | None) -> IngestSummary:
    recordings = intake.recordings
    settings = f"{FORMAT}\n{config.model_dump_json()}"
    order = (
        check_order([one for one in recordings if one.refused is None], config.sample_rate, jobs)
        if config.channel_order == "auto"
        else None
    )
    stamps = (f"{settings}\n{item.stamp()}".encode("utf-8", "surrogateescape") for item in recordings)
    keys = [hashlib.sha256(stamp).hexdigest()[:32] for stamp in stamps]
    assembly = Assembly(out, work, keys, config.shard_mb)
    tally, resumed = assembly.tally, assembly.tally.recordings
    try:
        todo = list(zip(keys, recordings, strict=True))[resumed:]
        with tqdm(total=len(keys), initial=resumed, desc="ingest", unit="recording", smoothing=0) as bar:
            for key in _convert(todo, config, work, jobs, cluster):
                assembly.add(key, work / f"{key}.tar", work / f"{key}.json")
                speed = f"{tally.speed:.1f}x/core"
                bar.set_postfix(clips=tally.clips, refused=tally.refused.total(), speed=speed, refresh=False)
                bar.update()
        assembly.finish(intake.beside())
    finally:
        assembly.close()
    if not tally.clips:
        [(check, _)] = tally.refused.most_common(1)
        raise UserError(
            f"none of {len(recordings)} recordings passes the checks, e.g. {tally.reasons[check]}: see {out / LEDGER}"
        )
    return IngestSummary(
        recordings=len(recordings),
        resumed=resumed,
        clips=tally.clips,
        duration_s=tally.duration_s,
        splits=dict(tally.splits),
        refused=dict(tally.refused),
        leaks=len(intake.leaks),
        order=order,
        speed=tally.speed,
    )


def _convert(
    todo: list[tuple[str, Recording]], config: Clips, work: Path, jobs: int, cluster: str | None
) -> Iterator[str]:
    if cluster is None:
        return convert_all(todo, config, work, jobs)
    from avsa.clips.cluster import convert_on_cluster

    return convert_on_cluster(todo, config, work, cluster)
