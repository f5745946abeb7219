"""A curriculum's phases as nested runs, and what failures leave with a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run as StoredRun

from avsa.errors import UserError
from avsa.resolve import Resolved, resolve
from avsa.tracking.environment import source_tags
from avsa.tracking.names import run_name
from avsa.tracking.phases import PhasePlan, phased
from avsa.tracking.process import this_process
from avsa.tracking.run import PROCESS, RUN_FILE, Run, stage_run
from avsa.tracking.stale import mark_dead
from avsa.tracking.store import open_store, public

PLANS = [
    PhasePlan("1 avc", 3, {"objective": "avc", "epochs": 1}),
    PhasePlan("2 hard-only", 5, {"objective": "hard-only", "epochs": 1}),
    PhasePlan("3 avsa", 8, {"objective": "avsa", "epochs": 1}),
]


@pytest.fixture(scope="module", autouse=True)
def _project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.setenv("MLFLOW_TRACKING_URI", "")
        yield


@pytest.fixture
def resolved() -> Resolved:
    return resolve()


def children(run: Run) -> dict[str, StoredRun]:
    found = run.client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
    return {child.info.run_name: child for child in found}


def steps(run: Run, child: StoredRun) -> list[int]:
    return [m.step for m in run.client.get_metric_history(child.info.run_id, "train/loss")]


def test_each_phase_has_a_run_of_its_own(resolved: Resolved) -> None:
    with stage_run(resolved, "pretrain", "avsa-0") as run, phased(run, PLANS) as tracker:
        for step in range(1, 9):
            if step == 4:
                run.sender.settle(60)
                assert [child.info.status for child in children(run).values()].count("SCHEDULED") == 2
            tracker.log({"train/loss": 1 / step}, step)
    found = children(run)
    assert found.keys() == {"1 avc", "2 hard-only", "3 avsa"}
    assert {child.info.status for child in found.values()} == {"FINISHED"}
    assert steps(run, found["1 avc"]) == [1, 2, 3]
    assert steps(run, found["2 hard-only"]) == [4, 5]
    assert steps(run, found["3 avsa"]) == [6, 7, 8]
    assert found["3 avsa"].data.params == {"phase.objective": "avsa", "phase.epochs": "1"}
    assert list(run.history("train/loss")) == list(range(1, 9))


def test_an_interrupted_phase_goes_on_in_its_run(resolved: Resolved, tmp_path: Path) -> None:
    place = tmp_path / RUN_FILE
    with (
        suppress(SystemExit),
        stage_run(resolved, "pretrain", "avsa-0", place) as first,
        phased(first, PLANS) as tracker,
    ):
        for step in (1, 2, 3, 4):
            tracker.log({"train/loss": 1 / step}, step)
        raise SystemExit(143)
    statuses = {name: child.info.status for name, child in children(first).items()}
    assert statuses == {"1 avc": "FINISHED", "2 hard-only": "KILLED", "3 avsa": "SCHEDULED"}
    with stage_run(resolved, "pretrain", "avsa-0", place) as second, phased(second, PLANS) as tracker:
        assert tracker.last_step() == 4
        for step in (5, 6, 7, 8):
            tracker.log({"train/loss": 1 / step}, step)
        assert list(second.curves()["train/loss"]) == list(range(1, 9))
    assert second.run_id == first.run_id
    found = children(second)
    assert {child.info.status for child in found.values()} == {"FINISHED"}
    assert steps(second, found["2 hard-only"]) == [4, 5]


def test_a_phase_that_goes_on_is_not_taken_for_dead(resolved: Resolved, tmp_path: Path) -> None:
    place = tmp_path / RUN_FILE
    with suppress(SystemExit), stage_run(resolved, "pretrain", "avsa-0", place) as first, phased(first, PLANS):
        raise SystemExit(143)
    ended = json.dumps({**this_process(), "started": 0})  # its number was given to this process
    for child in children(first).values():
        first.client.set_tag(child.info.run_id, PROCESS, ended)
    with stage_run(resolved, "pretrain", "avsa-0", place) as second, phased(second, PLANS) as tracker:
        tracker.log({"train/loss": 1.0}, 1)
        assert second.sender.settle(60)
        assert not [line for line in mark_dead(open_store(resolved.config.tracking), 900) if "now KILLED" in line]
        assert children(second)["1 avc"].info.status == "RUNNING"


def test_a_single_phase_is_the_run(resolved: Resolved) -> None:
    with stage_run(resolved, "pretrain", "avc-0") as run, phased(run, PLANS[:1]) as tracker:
        assert tracker is run
    assert not children(run)


def test_a_failure_leaves_its_traceback_and_its_evidence(resolved: Resolved, tmp_path: Path) -> None:
    batch = tmp_path / "refused-0.pt"
    batch.write_bytes(b"the batch")
    missing = tmp_path / "refused-1.pt"
    with suppress(UserError), stage_run(resolved, "pretrain", "avc-0") as run:
        raise UserError("loss not finite at step 3", evidence=[batch, missing])
    assert run.client.get_run(run.run_id).info.status == "FAILED"
    text = Path(download_artifacts(run_id=run.run_id, artifact_path="traceback.txt", tracking_uri=run.uri)).read_text()
    assert text.startswith("Traceback (most recent call last):\n")
    assert "test_phases.py" in text
    assert text.endswith("avsa.errors.UserError: loss not finite at step 3\n")
    kept = Path(download_artifacts(run_id=run.run_id, artifact_path="evidence", tracking_uri=run.uri))
    assert [(path.name, path.read_bytes()) for path in kept.iterdir()] == [("refused-0.pt", b"the batch")]


def test_an_interrupt_is_no_failure(resolved: Resolved) -> None:
    with suppress(SystemExit), stage_run(resolved, "synth", "synth") as run:
        raise SystemExit(143)
    assert [item.path for item in run.client.list_artifacts(run.run_id)] == ["config.yaml"]


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("pretrain: {temperature: 0.1}\npipeline: {seeds: [0, 1]}\nengine: {workers: 3}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        resolved = resolve(overrides=["audio.mels=64"])
    commit = {"git.commit": "0123456789abcdef", "git.dirty": "True"}
    assert run_name("avsa-0", resolve(), {}) == "avsa-0"
    assert run_name("avsa-0", resolve(), {**commit, "git.dirty": "False"}) == "avsa-0 @0123456"
    assert run_name("avsa-0", resolved, commit) == "avsa-0 mels=64 temperature=0.1 @0123456+"
    assert run_name("avsa-0", resolved, {**commit, "dvc.exp": "puffy-sloth"}).endswith(" @puffy-sloth")
    phases = resolve(overrides=["pretrain.runs.avsa=[{objective: hard-only, epochs: 3}, {objective: avsa, epochs: 5}]"])
    assert run_name("avsa-0", phases, {}) == "avsa-0 avsa=hard-only*3+avsa*5"
    assert run_name("avsa-avsa-bin-0", phases, {}) == "avsa-avsa-bin-0 avsa=hard-only*3+avsa*5"
    assert run_name("avc-0", phases, {}) == run_name("synth", phases, {}).replace("synth", "avc-0") == "avc-0"
    many = resolve(overrides=["audio.mels=64", "audio.hop=160", "views.size=48", "views.frames=4"])
    assert run_name("avsa-0", many, {}) == "avsa-0"


def test_secrets_in_the_address_are_not_recorded(resolved: Resolved) -> None:
    assert public("postgresql://me:secret@db:5432/mlflow") == "postgresql://***@db:5432/mlflow"
    assert public("https://token@tracking.example/x?y=1") == "https://***@tracking.example/x?y=1"
    for plain in ("sqlite:////home/me/a@b/mlflow.db", "http://localhost:5000", ""):
        assert public(plain) == plain


def test_secrets_in_addresses_of_the_configuration_are_not_recorded() -> None:
    resolved = resolve(overrides=["store.address=https://me:secret@data.example/clips"])
    with stage_run(resolved, "stats", "stats", arguments={"source": "https://me:secret@data.example/raw"}) as run:
        pass
    params = run.client.get_run(run.run_id).data.params
    assert params["cfg.store.address"] == "https://***@data.example/clips"
    assert params["arg.source"] == "https://***@data.example/raw"
    place = download_artifacts(run_id=run.run_id, artifact_path="config.yaml", tracking_uri=run.uri)
    assert "address: https://***@data.example/clips\n" in Path(place).read_text()


def test_secrets_on_the_command_line_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["--storage", "postgresql://me:p@ss@db/sweep", "--set", "tracking.uri=https://token@tracking.example/x"]
    monkeypatch.setattr(sys, "argv", ["/bin/avsa", "sweep", *addresses, "a@b", "http://plain:1/x@y"])
    shown = source_tags()["mlflow.source.name"]
    assert shown == (
        "avsa sweep --storage 'postgresql://***@db/sweep' --set 'tracking.uri=https://***@tracking.example/x' "
        "a@b http://plain:1/x@y"
    ).replace("'", "")
