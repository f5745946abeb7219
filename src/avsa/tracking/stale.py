"""Runs that nobody ended: their process was killed, or their machine is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.tracking.journal import JOURNAL, Journal, read_owner
from avsa.tracking.process import lives
from avsa.tracking.run import PROCESS, spool
from avsa.tracking.sender import Sender
from avsa.tracking.store import Store, public
from avsa.tracking.takeover import alone_with

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOUND_DEAD = "avsa.found_dead"
OF_EVERY_ENTRY_POINT = {"base", "overrides", "params"}  # parameters in MLproject


def send_what_waits(store: Store, wait_s: float, silent_s: float) -> Iterator[str]:
    """Send the journals of processes that are gone, on another machine: that wrote nothing for ``silent_s``; a line for
    each. Whoever continues such a run meanwhile waits."""
    for folder in sorted(path.parent for path in spool().glob(f"*/{JOURNAL}")):
        line = ""
        with suppress(FileNotFoundError), alone_with(folder):  # or its run has just ended
            line = _sent(folder, store, wait_s, silent_s)
        if line:
            yield line


def _sent(folder: Path, store: Store, wait_s: float, silent_s: float) -> str:
    """What became of a journal; nothing where somebody writes it, or all is sent."""
    owner = read_owner(folder)
    alive = lives(owner) if owner else None
    if owner is None or alive or (alive is None and time.time() - (folder / JOURNAL).stat().st_mtime < silent_s):
        return ""
    if owner.get("uri") != public(store.uri):
        return f"{folder}: waits for another tracking store, {owner.get('uri')}: set tracking.uri"
    journal = Journal(folder)
    waited = journal.waiting
    sender = Sender(journal, store.client)
    settled = sender.settle(wait_s)
    sender.close()
    run_id = folder.name.partition(".")[0]
    ended = settled and _status(store.client, run_id) in ("FINISHED", "FAILED")
    journal.close(delete=ended)
    if not waited:
        return ""
    return f"run {folder.name}: " + (f"{waited} bytes sent" if settled else "the tracking store did not take all")


def mark_dead(store: Store, silent_s: float) -> Iterator[str]:
    """End running runs that nobody records any more, as of their last sign of life; a line for each.

    KILLED where the process is gone. Of one on another machine all that is known is how long the run said nothing: dead
    after ``silent_s``. FAILED where ``mlflow run`` began it so long ago, and no stage went on.
    """
    client = store.client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
    for run in running:
        name, last_ms = f"run {run.info.run_id} ({run.info.run_name})", _last_sign(run)
        silent = time.time() - last_ms / 1000
        owned, alive = PROCESS in run.data.tags, _lives(run)
        if alive or (alive is None and (silent < silent_s or not (owned or _never_began(run)))):
            yield f"{name}: " + ("running" if alive else f"running elsewhere, last heard of {silent / 60:.0f} min ago")
        elif _ended(client, run, "KILLED" if owned else "FAILED", last_ms):
            yield f"{name}: " + (
                "its process is gone, now KILLED; the same command continues it where it can"
                if owned
                else f"launched {silent / 60:.0f} min ago, and no stage has begun, now FAILED"
            )


def _lives(run: Run) -> bool | None:
    """Whether one of the processes that record the run does; None where nobody here could tell."""
    owners: list[Any] = [read_owner(folder) for folder in spool().glob(f"{run.info.run_id}*")]
    if PROCESS in run.data.tags:
        with suppress(ValueError):
            owners.append(json.loads(run.data.tags[PROCESS]))
    answers = [lives(owner) for owner in owners if isinstance(owner, dict)]
    return True if True in answers else False if answers and None not in answers else None


def _never_began(run: Run) -> bool:
    """Whether ``mlflow run`` of this project made the run, of which a stage would have said whose process it is; not in
    a cluster, where pods may wait for days."""
    tags = run.data.tags
    return (
        tags.get("mlflow.source.type") == "PROJECT"
        and tags.get("mlflow.project.backend") != "kubernetes"
        and run.data.params.keys() >= OF_EVERY_ENTRY_POINT
    )


def _ended(client: MlflowClient, run: Run, status: str, last_ms: int) -> bool:
    """End a run, unless more was said of it: by its process before that ended, or by one that continues the run, which
    names itself first and calls it running then."""
    run_id, owner = run.info.run_id, run.data.tags.get(PROCESS)
    now = client.get_run(run_id)
    if now.info.status != "RUNNING" or now.data.tags.get(PROCESS) != owner:
        return False
    client.set_terminated(run_id, status, last_ms)
    if client.get_run(run_id).data.tags.get(PROCESS) != owner:
        client.update_run(run_id, "RUNNING")
        return False
    client.set_tag(run_id, FOUND_DEAD, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    return True


def _last_sign(run: Run) -> int:
    """When the run last recorded something, in ms; system metrics come every few seconds."""
    last: int = max([run.info.start_time, *(metric.timestamp for metric in run.data._metric_objs)])
    return last


def _status(client: MlflowClient, run_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException:
        return ""
