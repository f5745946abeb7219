"""Several processes on one study, as on several machines: signals, kills, and what goes on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from postgresql_server import postgresql  # noqa: F401, a fixture
from sweep_toy import STEPS

from avsa.sweep.storage import open_storage
from avsa.sweep.studies import attempts

HERE = Path(__file__).parent


def serve(folder: Path, storage: str, workers: int = 1, **plan: Any) -> subprocess.Popen[str]:
    """A process that serves the toy study."""
    command = [sys.executable, "-m", "sweep_toy", str(folder), storage, str(workers), json.dumps(plan)]
    return subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], Any], what: str, timeout_s: float = 240.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.05)
    return found


def begun(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def ended(process: subprocess.Popen[str]) -> int:
    output = process.communicate(timeout=240)
    assert "Traceback" not in output[1], output[1]
    return process.returncode


@pytest.mark.parametrize(("kind", "processes"), [("postgresql", 3), ("journal", 2)])
def test_one_of_several_processes_is_killed(
    kind: str, processes: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every trial is complete in the end, exactly one of them as the continuation of the lost one, from its step on."""
    url = request.getfixturevalue("postgresql") if kind == "postgresql" else f"journal:{tmp_path}/study.log"
    (tmp_path / "orders").write_text(json.dumps({"all": 0.25}))
    running = [serve(tmp_path, url, study=f"killed-{kind}", trials=9) for _ in range(processes)]
    until(lambda: any(line.endswith(" 1") for line in begun(tmp_path)), "a second step")
    study = optuna.load_study(storage=open_storage(url), study_name=f"killed-{kind}")

    def owned() -> tuple[subprocess.Popen[str], int] | None:
        """A process that is in the middle of a trial, and the trial's number."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            for process in running:
                in_it = f"search/{trial.number} 1" in begun(tmp_path)
                if in_it and trial.user_attrs.get("process", " ").split(" ")[1] == str(process.pid):
                    return process, trial.number
        return None

    victim, number = until(owned, "a running trial")
    os.kill(victim.pid, signal.SIGKILL)
    for process in running:
        assert process is victim or ended(process) == 0
    victim.communicate()

    queued = study.get_trials(deepcopy=False)
    trials = [trial for trial in queued if "same" not in trial.user_attrs]
    for left in queued:  # two may notice at once that the lost trial is not queued: one of theirs is left, not begun
        if left not in trials:
            assert left.state == TrialState.FAIL
            assert "process" not in left.user_attrs
            assert left.user_attrs["origin"] == queued[left.user_attrs["same"]].user_attrs["origin"] == number
    assert len(attempts(study)) == 9
    assert all(trial.state == TrialState.COMPLETE for trial in attempts(study))
    lost = [trial for trial in trials if trial.state != TrialState.COMPLETE]
    if lost:  # else it was complete in the moment of the kill
        assert [(trial.number, trial.state.name) for trial in lost] == [(number, "FAIL")]
        (again,) = [trial for trial in trials if trial.user_attrs.get("origin") == number]
        assert again.params == lost[0].params
    steps = Counter(begun(tmp_path))
    own = [trial.number for trial in trials if "origin" not in trial.user_attrs]
    assert set(steps) == {f"search/{n} {step}" for n in own for step in range(STEPS)}
    repeated = {step for step, times in steps.items() if times > 1}
    assert len(repeated) <= 1
    assert all(step.startswith(f"search/{number} ") and steps[step] == 2 for step in repeated)
    served = {trial.user_attrs["process"] for trial in trials}
    assert len(served) >= 2


def test_ctrl_c_stops_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    (tmp_path / "orders").write_text(json.dumps({"toy 1 2": 600, "toy 2 1": 600}))
    first = serve(tmp_path, url, 2, trials=3)
    until(lambda: {"search/1 2", "search/2 1"} <= set(begun(tmp_path)), "two long steps")
    first.send_signal(signal.SIGINT)
    assert ended(first) == signal.SIGINT
    study = optuna.load_study(storage=open_storage(url), study_name="toy")
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert sorted(state.name for state in states) == ["COMPLETE", "FAIL", "FAIL", "WAITING", "WAITING"]
    (tmp_path / "orders").write_text("{}")
    assert ended(serve(tmp_path, url, 2, trials=3)) == 0
    study = optuna.load_study(storage=open_storage(url), study_name="toy")
    assert [trial.state.name for trial in attempts(study)] == ["COMPLETE"] * 3
    steps = Counter(begun(tmp_path))
    assert {step for step, times in steps.items() if times > 1} == {"search/1 2", "search/2 1"}
    assert len(steps) == 3 * STEPS


def test_trials_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Else a lost trial would be trained by two at once."""
    (tmp_path / "orders").write_text(json.dumps({"toy 0 1": 600}))
    process = serve(tmp_path, f"sqlite:///{tmp_path}/study.db")
    until(lambda: "search/0 1" in begun(tmp_path), "a long step")
    lock = tmp_path / "search" / "0" / ".lock"
    process.kill()
    process.communicate()
    import fcntl

    def free() -> bool:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    until(free, "the end of the trial's process", 30.0)
