"""Runs that nobody ended: their process was killed, or their machine is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from avsa.tracking.journal import JOURNAL, Journal, read_owner
from avsa.tracking.process import lives
from avsa.tracking.run import PROCESS, spool
from avsa.tracking.sender import Sender
from avsa.tracking.store import Store, public

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOUND_DEAD = "avsa.found_dead"


def send_what_waits(store: Store, wait_s: float, silent_s: float) -> Iterator[str]:
    """Send the journals of processes that are gone, on another machine: that wrote nothing for ``silent_s``; a line for
    each."""
    for folder in sorted(path.parent for path in spool().glob(f"*/{JOURNAL}")):
        owner = read_owner(folder)
        alive = lives(owner) if owner else None
        if owner is None or alive or (alive is None and time.time() - (folder / JOURNAL).stat().st_mtime < silent_s):
            continue
        if owner.get("uri") != public(store.uri):
            yield f"{folder}: waits for another tracking store, {owner.get('uri')}: set tracking.uri"
            continue
        journal = Journal(folder)
        waited = journal.waiting
        sender = Sender(journal, store.client)
        settled = sender.settle(wait_s)
        sender.close()
        run_id = folder.name.partition(".")[0]
        ended = settled and _status(store.client, run_id) in ("FINISHED", "FAILED")
        journal.close(delete=ended)
        if waited:
            yield f"run {folder.name}: " + (
                f"{waited} bytes sent" if settled else "the tracking store did not take all"
            )


def mark_dead(store: Store, silent_s: float) -> Iterator[str]:
    """Mark running runs whose process is gone as KILLED, as of their last sign of life; a line for each.

    Of a process on another machine all that is known is how long the run said nothing: dead after ``silent_s``.
    """
    client = store.client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
    for run in running:
        name, last_ms = f"run {run.info.run_id} ({run.info.run_name})", _last_sign(run)
        silent = time.time() - last_ms / 1000
        process = run.data.tags.get(PROCESS)
        alive = None
        with suppress(ValueError, TypeError):
            alive = lives(json.loads(process)) if process else None
        if alive or (alive is None and (process is None or silent < silent_s)):
            yield f"{name}: " + ("running" if alive else f"running elsewhere, last heard of {silent / 60:.0f} min ago")
            continue
        client.set_tag(run.info.run_id, FOUND_DEAD, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        client.set_terminated(run.info.run_id, "KILLED", last_ms)
        yield f"{name}: its process is gone, now KILLED; the same command continues it where it can"


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
