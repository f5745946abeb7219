"""Runs whose process is gone: found, told apart from those that live, ended; what they had recorded is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from avsa.resolve import resolve
from avsa.sweep import losses
from avsa.tracking.journal import Journal
from avsa.tracking.process import lives, started, this_process
from avsa.tracking.run import PROCESS, spool
from avsa.tracking.stale import FOUND_DEAD, mark_dead, send_what_waits
from avsa.tracking.store import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.setenv("MLFLOW_TRACKING_URI", "")
        yield open_store(resolve().config.tracking)


@pytest.fixture(scope="module")
def gone() -> dict[str, Any]:
    """A process of this machine that ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    process = {**this_process(), "pid": child.pid, "started": started(child.pid)}
    assert lives(process)
    child.communicate(b"\n")
    assert lives(process) is False
    return process


def begin(store: Store, process: dict[str, Any] | None, **metrics: float) -> str:
    tags = {PROCESS: json.dumps(process)} if process else {}
    run = store.client.create_run(store.experiment_id, tags=tags, run_name="toy")
    for name, value in metrics.items():
        store.client.log_metric(run.info.run_id, name, value, timestamp=run.info.start_time + 5000, step=1)
    return str(run.info.run_id)


def test_processes_are_told_apart() -> None:
    mine = this_process()
    assert lives(mine)
    assert lives({**mine, "started": mine["started"] - 60}) is False  # its number was given to another
    assert lives({**mine, "machine": "another"}) is None


def test_a_clock_that_is_set_makes_nobody_another(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, trial = this_process(), losses.this_process()
    before = psutil.Process().create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)
    assert psutil.Process().create_time() != before
    assert lives(mine)
    assert not losses.is_gone(trial)


def test_dead_runs_are_ended_as_of_their_last_sign(store: Store, gone: dict[str, Any]) -> None:
    elsewhere = {**gone, "machine": "another"}
    dead = begin(store, gone, **{"train/loss": 1.0})
    alive = begin(store, this_process())
    fresh, silent = begin(store, elsewhere), begin(store, elsewhere)
    foreign = begin(store, None)  # nobody said whose it is
    time.sleep(0.05)
    lines = list(mark_dead(store, silent_s=3600))
    assert {run for run in (dead, alive, fresh, silent, foreign) if status(store, run) == "KILLED"} == {dead}
    assert next(line for line in lines if dead in line).endswith("the same command continues it where it can")
    assert next(line for line in lines if alive in line).endswith(": running")
    found = store.client.get_run(dead)
    assert found.info.end_time == found.info.start_time + 5000
    assert FOUND_DEAD in found.data.tags
    list(mark_dead(store, silent_s=0.01))
    assert (status(store, fresh), status(store, silent)) == ("KILLED", "KILLED")
    assert (status(store, alive), status(store, foreign)) == ("RUNNING", "RUNNING")


def test_what_dead_processes_recorded_is_sent(store: Store, gone: dict[str, Any]) -> None:
    def journal(run_id: str, owner: dict[str, Any]) -> None:
        journal = Journal(spool() / run_id, {"uri": store.uri, **owner})
        for step in (1, 2):
            metrics = {"train/loss": 1 / step}
            journal.append({"run": run_id, "kind": "metrics", "metrics": metrics, "step": step, "time": step})
        journal.append({"run": run_id, "kind": "status", "status": "FINISHED", "time": 99})
        journal.close(delete=False)

    left, open_ = begin(store, gone), begin(store, this_process())
    other = begin(store, gone)
    journal(left, gone)
    journal(open_, this_process())
    journal(other, {**gone, "uri": "http://elsewhere"})
    lines = list(send_what_waits(store, 60, 3600))
    assert [m.value for m in store.client.get_metric_history(left, "train/loss")] == [1.0, 0.5]
    assert status(store, left) == "FINISHED"
    assert store.client.get_metric_history(open_, "train/loss") == []
    assert {folder.name for folder in spool().iterdir()} == {open_, other}
    assert any("another tracking store, http://elsewhere" in line for line in lines)


def status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)
