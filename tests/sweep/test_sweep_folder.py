"""What lies in the folder of a study: of an earlier study of its name, and of several processes at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import optuna
import pytest
from sweep_toy import DEPTH, TEMPERATURE, in_memory, toy_plan

from avsa.config import Config
from avsa.resolve import Resolved
from avsa.sweep import run as verb
from avsa.sweep.process import Job
from avsa.sweep.report import PAGE, TRIALS, write_report
from avsa.sweep.studies import PARENT, Studies
from avsa.sweep.trial import _clear

BASE = Resolved(Config(), {})


@pytest.mark.parametrize(("known", "kept"), [("run-1", True), ("run-2", False), ("", False)])
def test_a_trial_continues_what_it_left_itself(known: str, kept: bool, tmp_path: Path) -> None:
    """Not what the trial of this number left in a study that was deleted, or that lies in another storage."""
    state = tmp_path / "checkpoints" / "avc-0" / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_text("state")
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"run_id": "run-1", "tracking_uri": "sqlite:///x.db"}))
    unsent = tmp_path / "runs" / "spool" / "run-1" / "journal.jsonl"
    unsent.parent.mkdir(parents=True)
    unsent.write_text("{}")
    _clear(Job("toy 0", tmp_path, tmp_path, BASE, 0, run_id=known))
    assert (state.exists(), record.exists(), unsent.exists()) == (kept, kept, True)


def test_a_trial_without_anything_left_begins(tmp_path: Path) -> None:
    _clear(Job("toy 0", tmp_path, tmp_path, BASE, 0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("created", "run_id", "remembered"), [(True, None, None), (False, "new", "new"), (False, None, "old")]
)
def test_a_new_study_has_a_run_of_its_own(
    created: bool, run_id: str | None, remembered: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder remembers an earlier study's; one that goes on has the run that it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb, "WAIT_S", 0.0)
    file = tmp_path / "runs/sweep/toy/run.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"run_id": "old", "tracking_uri": "sqlite:///x.db"}))
    found: list[str | None] = []

    @contextmanager
    def stage_run(*_: Any, remembered: Path, **__: Any) -> Iterator[Any]:
        found.append(json.loads(remembered.read_text())["run_id"] if remembered.exists() else None)
        yield type("Run", (), {"run_id": "opened", "uri": "", "tags": lambda self, tags: None})()

    monkeypatch.setattr("avsa.tracking.run.stage_run", stage_run)
    studies = replace(in_memory(), created=created)
    if run_id:
        studies.search.set_user_attr(PARENT, {"run_id": run_id, "tracking_uri": "sqlite:///x.db"})
    with verb._parent(BASE, toy_plan(), studies, "sqlite:///x.db"):
        pass
    assert found == [remembered]
    assert studies.search.user_attrs[PARENT]["run_id"] == "opened"
    assert [path.name for path in file.parent.iterdir()] == (["run.json"] if remembered else [])


def test_processes_that_end_together_write_the_report_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "runs/sweep/toy/report"
    out.parent.mkdir(parents=True)
    with ThreadPoolExecutor() as threads:
        with out.with_name(".report.lock").open("w") as other:
            flock(other, LOCK_EX)
            writing = threads.submit(verb.report, in_memory(), toy_plan(), "sqlite:///x.db")
            assert not wait([writing], 1.0).done
            assert not out.exists()
        writing.result(60.0)
    assert {path.name for path in out.iterdir()} >= {PAGE, TRIALS}


def test_the_report_of_several_metrics_has_a_front_and_no_word_of_finalists(tmp_path: Path) -> None:
    plan = toy_plan(metrics=["within-clip", "segmentation/video/miou", "ucf101-1/fine-tuned/video_top1"])
    search, random, finalists = (optuna.create_study(directions=["maximize"] * 3) for _ in range(3))
    for number in range(1, 9):
        params = {TEMPERATURE: number / 10, DEPTH: 1 + number % 4}
        distributions: dict[str, Any] = {
            TEMPERATURE: optuna.distributions.FloatDistribution(0.01, 1.0, log=True),
            DEPTH: optuna.distributions.IntDistribution(1, 4),
        }
        values = [50.0 + number, 30.0 - number, 20.0 + number % 3]
        search.add_trial(optuna.create_trial(values=values, params=params, distributions=distributions))
    write_report(Studies(search, random, finalists), plan, "sqlite:///x.db", tmp_path)
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {"history", "pareto", "importances", "parallel", "slices"}
    page = (tmp_path / PAGE).read_text()
    assert "Finalists" not in page
    assert "segmentation miou (%)" in page
    assert "<td>search 7</td>" in page
