"""The whole pipeline in miniature on real files, and what kills, signals and several processes do to it."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import avsa, start
from mlflow import MlflowClient
from torch import Tensor
from tracking_server import wait_for

from avsa.clips.store import ClipStore
from avsa.models.checkpoint import load_network

ROOT = Path(__file__).parents[1]
PARAMS = """
dataset: tiny
synth: {train: 16, val: 5, test: 6, places: 3, height: 48, duration_s: 1.0, fps: 8, sample_rate: 8000}
clips: {clip_s: 1.0, height: 48, fps: 8, sample_rate: 8000}
views: {size: 24, frames: 3, audio_s: 0.5, crops: 2, fov_deg: [80, 100]}
audio: {kind: ambisonics+intensity, mels: 16, window: 256, hop: 160}
model: {video_depth: 10, width: 0.0625, head_dim: 16, translator: {depth: 1}}
pretrain:
  examples_per_clip: 5
  runs:
    avc: [{objective: avc, epochs: 1, batch: 8, crops: 1, lr: 1.0e-3}]
    avsa:
      - {objective: avc, epochs: 1, batch: 4, crops: 1, lr: 1.0e-3}
      - {objective: avsa, epochs: 2, batch: 4, crops: 2, lr: 1.0e-3}
evaluate: {batch: 4, binary: {epochs: 2}}
engine: {device: cpu, workers: 0, threads: 1, log_every: 1, checkpoint_every_s: 0.0001, val_batches: 2}
pipeline: {seeds: [0], after_avc: [avsa], checkpoints: [untrained, avc, avsa], tasks: [avc-bin, avsa-bin]}
"""
AVC_STEPS, AVSA_STEPS, IN_EPOCH = 10, 60, 20
AVSA = ("pretrain", "avsa", "--from", "avc")

PIPELINE = (
    ("synth", "--jobs", "1"),
    ("ingest", "--jobs", "1"),
    ("stats",),
    ("init",),
    ("pretrain", "avc"),
    AVSA,
    ("evaluate", "untrained", "avsa-bin"),
    ("evaluate", "avsa", "avsa-bin"),
    ("evaluate", "avsa", "avc-bin"),
    ("report",),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage has run once, undisturbed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    for arguments in PIPELINE:
        assert avsa(folder, *arguments) == 0, arguments
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A project with the same data and the networks before avsa, whose store knows no runs."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data").symlink_to(project / "data")
    for name in ("untrained-0", "avc-0"):
        shutil.copytree(project / "checkpoints" / name, tmp_path / "checkpoints" / name)
    return tmp_path


def runs(folder: Path) -> list[Any]:
    """All recorded runs but those of phases, oldest first."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("avsa")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return [run for run in found if "avsa.phase" not in run.data.tags]


def history(folder: Path, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Metric -> (step, value) in the order of steps, without those that depend on the clock."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    names = [name for name in client.get_run(run_id).data.metrics if not name.startswith("system/")]
    return {
        name: sorted((item.step, item.value) for item in client.get_metric_history(run_id, name))
        for name in names
        if name != "train/clips_per_s"
    }


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    return load_network(folder / "checkpoints" / f"{name}-0" / "network.pt")[0].state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Undisturbed


def test_the_data_arrived(project: Path) -> None:
    store = ClipStore(project / "data/clips/tiny")
    assert sorted(clip.split for clip in store) == ["test"] * 6 + ["train"] * 16 + ["val"] * 5
    truth = store.truth(store[0])
    assert truth["objects"]
    assert (project / "data/clips/tiny/refused.jsonl").read_text() == ""


def test_every_stage_is_a_finished_run_that_its_output_names(project: Path) -> None:
    recorded = runs(project)
    stages = [run.data.tags["avsa.stage"] for run in recorded]
    assert stages == [arguments[0] for arguments in PIPELINE]
    assert {run.info.status for run in recorded} == {"FINISHED"}
    by_name = {run.info.run_name: run.info.run_id for run in recorded}
    for folder in [*project.glob("checkpoints/*"), *project.glob("evaluations/*")]:
        named = json.loads((folder / "run.json").read_text())
        assert named == {"run_id": by_name[folder.name], "tracking_uri": f"sqlite:///{project}/mlflow.db"}


def test_training_logged_every_step_once(project: Path) -> None:
    for name, steps in (("avc", AVC_STEPS), ("avsa", AVSA_STEPS)):
        folder = project / "checkpoints" / f"{name}-0"
        found = history(project, json.loads((folder / "run.json").read_text())["run_id"])
        assert [step for step, _ in found["train/loss"]] == list(range(1, steps + 1))
        with (folder / "curve.csv").open() as file:
            curve = list(csv.DictReader(file))
        assert [(int(row["step"]), float(row["train/loss"])) for row in curve] == found["train/loss"]
    ends = [IN_EPOCH, 2 * IN_EPOCH, 3 * IN_EPOCH]
    assert [step for step, _ in found["val/loss"]] == ends
    assert [step for step, _ in found["val/within_clip_v2a"]] == ends
    assert {path.name for path in (project / "runs").iterdir()} == {"features", "spool"}  # what is done leaves no state
    assert not list((project / "runs" / "spool").iterdir())


def test_the_curriculum_is_an_edge(project: Path) -> None:
    provenance = load_network(project / "checkpoints/avsa-0/network.pt")[1]
    assert (provenance["run"], provenance["from"]) == ("avsa", "avc")
    before, after = weights(project, "avc"), weights(project, "avsa")
    untrained = weights(project, "untrained")
    translators = [name for name in before if "_transformer." in name]
    assert translators
    assert all(torch.equal(before[name], untrained[name]) for name in translators)  # avc does not use them
    assert not any(torch.equal(after[name], untrained[name]) for name in translators if name.endswith("weight"))
    assert not torch.equal(before["video_head.projection.0.weight"], untrained["video_head.projection.0.weight"])


def test_the_report_holds_what_was_measured(project: Path) -> None:
    records = json.loads((project / "reports/results.json").read_text())
    measured = [item for path in project.glob("evaluations/*/results.json") for item in json.loads(path.read_text())]
    key: Callable[[dict[str, Any]], str] = lambda item: json.dumps(item, sort_keys=True)  # noqa: E731
    assert sorted(records, key=key) == sorted(measured, key=key)
    found = {(item["pretext"], item["task"], item["setting"]) for item in records}
    plain = {(pretext, "avsa-bin", setting) for pretext in ("untrained", "avsa") for setting in ("1 crop", "2 crops")}
    assert plain | {("avsa", "avsa-bin", "2 crops, translator")} <= found
    assert ("untrained", "avsa-bin", "2 crops, translator") not in found
    for item in records:
        assert item["n"] == 6 * 2 * 2  # clips, views, right and wrong
        assert item["ci95"][0] < item["value"] < item["ci95"][1]
    page = (project / "reports/index.html").read_text()
    assert "tiny" in page
    assert json.loads((project / "reports/metrics.json").read_text()).keys() == {"avc-bin", "avsa-bin"}


# Disturbed


def stop_in_mid_epoch(process: subprocess.Popen[str], folder: Path, number: int) -> int:
    """Send the signal when a checkpoint of the second epoch's first half is there. Returns the exit code."""
    deadline = time.monotonic() + 400
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if position(folder).get("steps", 0) >= IN_EPOCH + 4:
                process.send_signal(number)
                break
            time.sleep(0.01)
        _, errors = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    reached = position(folder)
    assert reached, errors
    assert 0 < reached["step"] < IN_EPOCH, "the signal did not come in mid-epoch"
    return process.returncode


def position(folder: Path) -> dict[str, int]:
    """Where the checkpoint stands; empty without one."""
    for path in folder.glob("runs/*/state.pt"):
        try:
            return dict(torch.load(path, weights_only=True)["position"])
        except FileNotFoundError:  # just being replaced
            pass
    return {}


def test_killed_and_started_again(project: Path, copy: Path) -> None:
    assert stop_in_mid_epoch(start(copy, "avsa", *AVSA), copy, signal.SIGKILL) == -signal.SIGKILL
    assert not (copy / "checkpoints/avsa-0").exists()
    (interrupted,) = runs(copy)
    assert interrupted.info.status == "RUNNING"  # nobody could say otherwise
    assert avsa(copy, *AVSA) == 0
    assert equal(weights(copy, "avsa"), weights(project, "avsa"))
    (run,) = runs(copy)
    assert (run.info.run_id, run.info.status) == (interrupted.info.run_id, "FINISHED")
    undisturbed = json.loads((project / "checkpoints/avsa-0/run.json").read_text())["run_id"]
    assert history(copy, run.info.run_id) == history(project, undisturbed)  # every step once, and the same value


def test_terminated_while_others_decode_and_started_again(project: Path, copy: Path) -> None:
    process = start(copy, "avsa", *AVSA, "--set", "engine.workers=1")
    assert stop_in_mid_epoch(process, copy, signal.SIGTERM) == 128 + signal.SIGTERM
    (interrupted,) = runs(copy)
    assert interrupted.info.status == "KILLED"
    assert avsa(copy, *AVSA) == 0
    assert equal(weights(copy, "avsa"), weights(project, "avsa"))
    (run,) = runs(copy)
    assert (run.info.run_id, run.info.status) == (interrupted.info.run_id, "FINISHED")
    assert [step for step, _ in history(copy, run.info.run_id)["train/loss"]] == list(range(1, AVSA_STEPS + 1))


def test_two_processes(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints/avc-0")
    process = start(copy, "torch.distributed.run", "--nproc-per-node", "2", "-m", "avsa", "pretrain", "avc")
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    (run,) = runs(copy)
    assert run.info.status == "FINISHED"
    found = history(copy, run.info.run_id)
    assert [step for step, _ in found["train/loss"]] == list(range(1, AVC_STEPS + 1))
    assert [step for step, _ in found["val/loss"]] == [AVC_STEPS]
    assert all(math.isfinite(value) for name in found for _, value in found[name])
    assert json.loads((copy / "checkpoints/avc-0/run.json").read_text())["run_id"] == run.info.run_id


# As pages say


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks of code."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_after_a_crash(copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """docs/resume.md: a loss that is not finite leaves its batch; runs that nobody ended."""
    wild = "pretrain.runs.wild=[{objective: avc, epochs: 9, batch: 8, crops: 1, lr: 1.0e+30}]"
    assert avsa(copy, "pretrain", "wild", "--set", wild) == 2
    assert "not finite at step" in capfd.readouterr().err
    (run,) = runs(copy)
    assert run.info.status == "FAILED"
    place = copy / "mlartifacts"
    assert [path.name for path in place.rglob("traceback.txt")] == ["traceback.txt"]
    (kept,) = place.rglob("evidence/refused-0.pt")
    (code,) = blocks("resume.md", "python")
    monkeypatch.chdir(kept.parent)
    told: dict[str, Any] = {}
    exec(code, told)
    batch = told["batch"]
    assert batch["step"] == history(copy, run.info.run_id)["train/loss"][-1][0] + 1
    assert set(batch["parts"][0]["ids"]) <= {clip.id for clip in ClipStore(copy / "data/clips/tiny")}
    (command,) = blocks("resume.md", "sh")
    program, *words = shlex.split(command)
    assert program == "avsa"
    assert avsa(copy, *words) == 0


@pytest.mark.timeout(1500)  # a server starts, on however busy a machine
def test_track_and_compare(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/track-and-compare.md: the pages of `make ui`; a run and a stage that a server records; and a search."""
    (block,) = blocks("track-and-compare.md", "sh")
    ui, train, export = (shlex.split(line, comments=True) for line in block.splitlines())
    shutil.copy(ROOT / "Makefile", copy)
    (copy / ".venv").mkdir()
    (copy / ".venv/bin").symlink_to(Path(sys.executable).parent)
    for name in ("requirements.lock", "pyproject.toml", ".venv/installed"):  # nothing is to be installed
        (copy / name).touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    makefile = (copy / "Makefile").read_text()
    assert makefile.count("mlflow.db --port 5000") == 1
    (copy / "Makefile").write_text(makefile.replace("mlflow.db --port 5000", f"mlflow.db --port {port} --workers 1"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    with (copy / "ui.log").open("w") as log:
        server = subprocess.Popen(ui, cwd=copy, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, (copy / "ui.log").read_text()
        with suppress(OSError), urllib.request.urlopen(address, timeout=2) as page:
            return b"<title>MLflow</title>" in page.read()
        return False

    try:
        wait_for(answers, 900)
        here = [word.replace("http://tracking.example:5000", address) for word in train]
        assert here != train
        assert avsa(copy, *here[1:]) == 0
        name, _, value = export[1].partition("=")
        assert (export[0], name, value) == ("export", "MLFLOW_TRACKING_URI", "http://tracking.example:5000")
        environment |= {name: address}
        evaluated = [sys.executable, "-m", "avsa", "evaluate", "avsa", "avsa-bin"]
        subprocess.run(evaluated, cwd=copy, env=environment, check=True, capture_output=True)
        (code,) = blocks("track-and-compare.md", "python")
        head, _, search = code.partition("mlflow.search_runs")
        told: dict[str, Any] = {}
        exec(f"{head.replace('sqlite:////absolute/path/mlflow.db', address)}found = mlflow.search_runs{search}", told)
        (row,) = told["found"].to_dict("records")
        assert row["params.arg.checkpoint"] == "avsa"
        assert 0 <= row["metrics.avsa-bin/2-crops/accuracy"] <= 100
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert [run.data.tags["avsa.stage"] for run in runs(copy)] == ["pretrain", "evaluate"]  # of the project's own file
