"""`avsa repro` on a pipeline of one stage: DVC runs it, below a run of its own."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
from command_line import avsa, start
from mlflow import MlflowClient

STAGE = """
import json, os, signal, sys, time, yaml
choice = yaml.safe_load(open("params.yaml"))["dataset"]
if choice == "broken":
    sys.exit(3)
json.dump({"run": os.environ["MLFLOW_RUN_ID"], "dataset": choice}, open("out.json", "w"))
if choice == "long":
    signal.signal(signal.SIGINT, lambda *_: (open("told.txt", "w").close(), sys.exit(130)))
    open("started.txt", "w").close()
    time.sleep(100)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (folder / "stage.py").write_text(STAGE)
    stage = f"cmd: {sys.executable} stage.py\n    deps: [stage.py]\n    params: [dataset]\n    outs: [out.json]"
    (folder / "dvc.yaml").write_text(f"stages:\n  one:\n    {stage}\n")
    return folder


def runs(project: Path) -> dict[str, str]:
    """Id -> status of all runs of the project, the latest first."""
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return {run.info.run_id: run.info.status for run in found}


def test_stages_know_the_run_above_them(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").write_text("dataset: small\n")
    assert avsa(project, "repro") == 0
    (above,) = runs(project)
    assert json.loads((project / "out.json").read_text()) == {"run": above, "dataset": "small"}
    assert runs(project)[above] == "FINISHED"
    (project / "params.yaml").write_text("dataset: broken\n")
    assert avsa(project, "repro") == 2
    assert "avsa: the pipeline did not end well" in capfd.readouterr().err
    assert list(runs(project).values()) == ["FAILED", "FINISHED"]


def test_a_signal_reaches_the_stage(project: Path) -> None:
    (project / "params.yaml").write_text("dataset: long\n")
    before = runs(project)
    process = start(project, "avsa", "repro")
    while not (project / "started.txt").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (project / "told.txt").exists()
    assert {status for run, status in runs(project).items() if run not in before} == {"KILLED"}
