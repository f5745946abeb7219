"""`mlflow run --backend avsa`: runs end as their stages say."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException

STOPPED = """
import os, sys
from mlflow import MlflowClient
MlflowClient().set_terminated(os.environ["MLFLOW_RUN_ID"], "KILLED")
sys.exit(143)
"""
PROJECT = f"""
name: small
entry_points:
  stopped: {{command: {sys.executable} stopped.py}}
  failing: {{command: test 1 = 2}}
  killed: {{command: kill -9 $$}}
  good: {{command: "true"}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "MLproject").write_text(PROJECT)
    (folder / "stopped.py").write_text(STOPPED)
    (folder / "docker").mkdir()
    (folder / "docker" / "MLproject").write_text(f"docker_env: {{image: none}}{PROJECT}")
    return folder


def ended(project: Path, entry: str, patch: pytest.MonkeyPatch, folder: str = "", env_manager: str = "local") -> str:
    """The status of the run that an entry point leaves."""
    uri = f"sqlite:///{project}/mlflow.db"
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    patch.chdir(project)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.projects.run(
            str(project / folder), entry, backend="avsa", experiment_name="all", env_manager=env_manager
        )
    finally:
        mlflow.set_tracking_uri(before)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("all")
        assert experiment is not None
        run = client.search_runs([experiment.experiment_id], max_results=1)[0]
        (project / "status").write_text(run.info.status)
    return str(run.info.status)


def test_what_ends_well_is_finished(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(project, "good", monkeypatch) == "FINISHED"


@pytest.mark.parametrize(("entry", "status"), [("stopped", "KILLED"), ("killed", "KILLED"), ("failing", "FAILED")])
def test_what_does_not(project: Path, monkeypatch: pytest.MonkeyPatch, entry: str, status: str) -> None:
    with pytest.raises(ExecutionException, match=f"ended as {status}"):
        ended(project, entry, monkeypatch)
    assert (project / "status").read_text() == status


def test_what_never_starts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "empty").mkdir()
    monkeypatch.setenv("PATH", str(project / "empty"))  # no docker, and no git
    with pytest.raises(ExecutionException, match="Could not find Docker"):
        ended(project, "good", monkeypatch, "docker")
    assert (project / "status").read_text() == "FAILED"
