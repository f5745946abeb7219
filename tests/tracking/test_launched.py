"""Runs that `mlflow run` makes: the stage that it starts records itself in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from avsa.resolve import resolve
from avsa.tracking.environment import code_version
from avsa.tracking.process import lives
from avsa.tracking.run import PROCESS, RUN_FILE, stage_run

PROJECT = {"mlflow.source.type": "PROJECT", "mlflow.source.name": "file:///project", "mlflow.user": "who"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with stage_run(resolve(), "synth", "synth") as run:  # makes the store and the experiment
        return run.client


def launch(client: MlflowClient, monkeypatch: pytest.MonkeyPatch, name: str | None = None) -> str:
    """As `mlflow run` does: a run with its project's tags, whose id is in the environment. Returns the id."""
    experiment = client.get_experiment_by_name("avsa")
    assert experiment is not None
    run = client.create_run(experiment.experiment_id, tags=PROJECT, run_name=name)
    client.log_param(run.info.run_id, "seed", "0")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    return str(run.info.run_id)


def test_the_stage_is_that_run(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = launch(client, monkeypatch)
    with stage_run(resolve(), "pretrain", "avsa-0", arguments={"seed": 0}) as run:
        run.log({"train/loss": 2.0}, step=1)
        assert run.curves() == {"train/loss": {1: 2.0}}
    stored = client.get_run(launched)
    assert (run.run_id, stored.info.status, stored.info.run_name) == (launched, "FINISHED", "avsa-0")
    assert stored.data.params["seed"] == stored.data.params["arg.seed"] == "0"
    assert stored.data.tags.items() >= {**PROJECT, "avsa.stage": "pretrain", "mlflow.runName": "avsa-0"}.items()
    with stage_run(resolve(), "stats", "stats") as other:
        assert other.run_id != launched  # what follows in the same process is a run of its own


def test_a_name_that_somebody_chose_stays(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = launch(client, monkeypatch, "my best idea")
    with stage_run(resolve(), "pretrain", "avsa-0"):
        pass
    assert client.get_run(launched).info.run_name == "my best idea"


def test_stages_of_a_launched_pipeline_lie_below(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = launch(client, monkeypatch)
    monkeypatch.setenv("DVC_STAGE", "stats")
    with stage_run(resolve(), "stats", "stats") as run:
        assert run.run_id != launched
    assert client.get_run(run.run_id).data.tags["mlflow.parentRunId"] == launched


def test_launched_again_the_first_run_goes_on(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    remembered = folder / "runs" / RUN_FILE
    first = launch(client, monkeypatch)
    with pytest.raises(SystemExit), stage_run(resolve(), "pretrain", "avsa-0", remembered):
        raise SystemExit(143)
    assert client.get_run(first).info.status == "KILLED"
    second = launch(client, monkeypatch)
    with stage_run(resolve(), "pretrain", "avsa-0", remembered) as run:
        assert run.run_id == first
    assert client.get_run(first).info.status == "FINISHED"
    tags = client.get_run(second).data.tags
    assert tags["mlflow.parentRunId"] == first
    assert lives(json.loads(tags[PROCESS]))  # so that nobody takes it for one that never began


def test_a_process_names_itself_before_it_calls_a_run_running(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = launch(client, monkeypatch)
    seen = []
    real = MlflowClient.update_run

    def update_run(self: MlflowClient, run_id: str, status: str | None = None, name: str | None = None) -> None:
        if status == "RUNNING":
            seen.append(self.get_run(run_id).data.tags.get(PROCESS, ""))
        real(self, run_id, status, name)

    monkeypatch.setattr(MlflowClient, "update_run", update_run)
    with stage_run(resolve(), "pretrain", "avsa-0") as run:
        assert run.run_id == launched
    assert [lives(json.loads(process)) for process in seen] == [True]


def test_without_a_repository_the_image_says_which_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVSA_COMMIT", raising=False)
    assert code_version(tmp_path) == {}
    monkeypatch.setenv("AVSA_COMMIT", "0123abc-dirty")
    assert code_version(tmp_path) == {"git.commit": "0123abc", "git.dirty": "True"}
