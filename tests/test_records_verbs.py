"""The verbs about what was recorded, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import avsa
from dvc.repo import Repo
from mlflow import MlflowClient

from avsa.resolve import resolve
from avsa.tracking.process import this_process
from avsa.tracking.run import PROCESS, stage_run

PARAMS = "dataset: tiny\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def complaint(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    capfd.readouterr()
    assert avsa(folder, *arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line.removeprefix("avsa: ")


def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    assert "is in no DVC project" in complaint(capfd, project, "lineage", "x")
    assert complaint(capfd, project, "register", "avc") == (
        "checkpoints/avc-0/network.pt: no such checkpoint; dvc pull brings those of the pipeline"
    )
    assert complaint(capfd, project, "register").startswith("no results of avsa-bin in reports/results.json")
    Repo.init(str(project), no_scm=True).close()
    assert complaint(capfd, project, "lineage", "nothing").startswith("nothing: no file of the pipeline, hash, run or")
    assert not (project / "mlflow.db").exists()  # a question makes no store


def test_a_verb_by_hand_is_found_by_what_it_wrote(
    capfd: pytest.CaptureFixture[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a DVC project without a dvc.lock: the store alone knows."""
    Repo.init(str(project), no_scm=True).close()
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with monkeypatch.context() as patch:
        patch.chdir(project)
        (project / "in.txt").write_text("read")
        with stage_run(resolve(), "stats", "stats", reads=[Path("in.txt")], writes=[Path("out")]) as run:
            (project / "out").mkdir()
            (project / "out/a.txt").write_text("written")
    assert avsa(project, "lineage", run.run_id, "--json") == 0
    (chain,) = json.loads(capfd.readouterr().out)
    assert (chain["path"], chain["made_by"][0]["runs"][0]["id"]) == ("out", run.run_id)
    assert [file["path"] for file in chain["made_by"][0]["code"]] == ["in.txt"]
    assert avsa(project, "lineage", chain["hash"]) == 0
    assert f"made by stats: run {run.run_id[:12]} stats FINISHED" in capfd.readouterr().out
    (project / "copy").mkdir()
    (project / "copy/a.txt").write_text("written")
    assert avsa(project, "lineage", "copy") == 0
    assert capfd.readouterr().out.startswith("out  ")

    child = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    gone = {**this_process(), "pid": child.pid}
    child.wait()
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    dead = client.create_run(run.experiment_id, tags={PROCESS: json.dumps(gone)}, run_name="avsa-0").info.run_id
    assert avsa(project, "doctor", "--runs") == 0
    expected = f"run {dead} (avsa-0): its process is gone, now KILLED; the same command continues it where it can\n"
    assert capfd.readouterr().out == expected
    assert avsa(project, "doctor", "--runs") == 0
    assert capfd.readouterr().out == ""
