"""Runs whose process is gone: found, told apart from those that live, ended; what they had recorded is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from avsa.resolve import resolve
from avsa.sweep import losses
from avsa.tracking.journal import Journal
from avsa.tracking.process import lives, started, this_process
from avsa.tracking.run import PROCESS, _journal, spool
from avsa.tracking.stale import FOUND_DEAD, mark_dead, send_what_waits
from avsa.tracking.store import Store, open_store
from avsa.tracking.takeover import alone_with


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


class Told:
    """A tracking store with one run; before each question, what somebody else says comes in between."""

    def __init__(self, process: dict[str, Any], others: dict[int, list[dict[str, Any]]]) -> None:
        info = SimpleNamespace(run_id="0" * 32, run_name="toy", start_time=0, status="RUNNING")
        data = SimpleNamespace(tags={PROCESS: json.dumps(process)}, params={}, _metric_objs=[])
        self.run, self.others, self.asked = SimpleNamespace(info=info, data=data), others, 0

    def between(self) -> None:
        for said in self.others.pop(self.asked, []):
            self.run.data.tags |= said.get("tags", {})
            self.run.info.status = said.get("status", self.run.info.status)
        self.asked += 1

    def search_experiments(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(experiment_id="1")]

    def search_runs(self, experiments: list[str], wanted: str) -> list[SimpleNamespace]:
        return [deepcopy(self.run)]

    def get_run(self, run_id: str) -> SimpleNamespace:
        self.between()
        return deepcopy(self.run)

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.between()
        self.run.info.status = status

    def update_run(self, run_id: str, status: str) -> None:
        self.between()
        self.run.info.status = status

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.between()
        self.run.data.tags[key] = value

    def doctor(self) -> str:
        """The run's status after a look for dead runs, and after everybody has said everything."""
        list(mark_dead(cast(Store, SimpleNamespace(client=self)), 900))
        for number in sorted(self.others):
            self.asked = number
            self.between()
        return str(self.run.info.status)


def test_a_run_that_is_being_continued_stays_running(
    gone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever its new process comes: it names itself, and then calls the run running."""
    monkeypatch.chdir(tmp_path)
    assert Told(gone, {}).doctor() == "KILLED"
    named: dict[str, Any] = {"tags": {PROCESS: json.dumps(this_process())}}
    running: dict[str, Any] = {"status": "RUNNING"}
    for first in range(6):
        for second in range(first, 6):
            others = {first: [named, running]} if first == second else {first: [named], second: [running]}
            assert Told(gone, others).doctor() == "RUNNING", (first, second)


def test_what_a_process_said_before_it_ended_stays(
    gone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Told(gone, {0: [{"status": "FINISHED"}]}).doctor() == "FINISHED"


def test_a_run_that_several_processes_record_lives_while_one_does(store: Store, gone: dict[str, Any]) -> None:
    run = begin(store, gone)  # the last that came
    Journal(spool() / f"{run}.17", this_process()).close(delete=False)
    assert [line for line in mark_dead(store, 900) if run in line] == [f"run {run} (toy): running"]
    assert status(store, run) == "RUNNING"


def test_launched_runs_in_which_no_stage_began_have_failed(store: Store) -> None:
    def launch(params: list[str], **tags: str) -> str:
        launched = {"mlflow.source.type": "PROJECT", **{f"mlflow.project.{name}": tags[name] for name in tags}}
        run_id = store.client.create_run(store.experiment_id, tags=launched, run_name="toy").info.run_id
        for name in params:
            store.client.log_param(run_id, name, "")
        return str(run_id)

    ours = ["base", "overrides", "params"]
    never, waiting = launch([*ours, "run"], env="docker"), launch(ours, backend="kubernetes")
    other = launch(["alpha"])  # another project's stage may never say whose process it is
    time.sleep(0.05)
    assert not [line for line in mark_dead(store, 3600) if "FAILED" in line]
    (line,) = (line for line in mark_dead(store, 0.01) if "FAILED" in line)
    assert line == f"run {never} (toy): launched 0 min ago, and no stage has begun, now FAILED"
    assert {run: status(store, run) for run in (never, waiting, other)} == {
        never: "FAILED",
        waiting: "RUNNING",
        other: "RUNNING",
    }
    assert FOUND_DEAD in store.client.get_run(never).data.tags


def test_one_process_at_a_time_takes_a_journal_over(store: Store, gone: dict[str, Any]) -> None:
    """Who continues a run waits until what its last process left is sent; who sends looks again when it may."""
    run = begin(store, gone)
    folder = spool() / run
    left = Journal(folder, {"uri": store.uri, "whole": True, **gone})
    left.append({"run": run, "kind": "metrics", "metrics": {"train/loss": 1.0}, "step": 1, "time": 1})
    left.close(delete=False)
    found: list[Any] = []
    continuing = threading.Thread(target=lambda: found.append(_journal(run, this_process(), fresh=False)))
    sent = (line for line in send_what_waits(store, 60, 0) if run in line)
    sending = threading.Thread(target=lambda: found.extend(sent))
    with alone_with(folder):
        continuing.start()
        continuing.join(0.2)
        assert continuing.is_alive()
    continuing.join(60)
    ((journal, whole),) = found
    assert whole
    assert [entry["step"] for entry in journal.entries()] == [1]
    journal.close(delete=False)
    (folder / "owner.json").write_text(json.dumps({"uri": store.uri, **gone}))
    with alone_with(folder):
        sending.start()
        sending.join(0.2)
        assert sending.is_alive()
        (folder / "owner.json").write_text(json.dumps({"uri": store.uri, **this_process()}))
    sending.join(60)
    assert len(found) == 1
    assert store.client.get_metric_history(run, "train/loss") == []


def status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)
