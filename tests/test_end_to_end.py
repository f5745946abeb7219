"""The whole pipeline in miniature on real files, and what kills, signals and several processes do to it."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import avsa, start
from mlflow import MlflowClient
from torch import Tensor

from avsa.clips.store import ClipStore
from avsa.models.checkpoint import load_network

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
