"""Bad input through the command line: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import avsa, start
from mlflow import MlflowClient

from avsa import config
from avsa.clips.clip import Clip
from avsa.clips.store import MANIFEST
from avsa.data.statistics import Statistics, feature_settings
from avsa.models.checkpoint import load_network, save_network
from avsa.models.network import NetworkSpec, build_network

PARAMS = """
dataset: tiny
model: {video_depth: 10, width: 0.0625}
engine: {device: cpu, threads: 1}
"""
SPEC = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with choices and nothing else."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def complaint(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    """What the user reads; the exit code is 2, and it is one line."""
    capfd.readouterr()
    assert avsa(folder, *arguments) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("avsa: ")
    return lines[0].removeprefix("avsa: ")


def with_store(project: Path, *splits: str) -> Path:
    """A manifest of clips of these splits (whose shard nobody reads) and some file in place of statistics."""
    folder = project / "data" / "clips" / "tiny"
    folder.mkdir(parents=True)
    clips = [
        Clip(
            id=f"clip-{i}", source=f"{i}.mp4", split=split, start_s=0, duration_s=10, width=960, height=480, fps=16,
            frames=160, sample_rate=24000, shard="shard-00000.tar", members={}, checks={},
        )
        for i, split in enumerate(splits)
    ]  # fmt: skip
    (folder / MANIFEST).write_text("".join(clip.model_dump_json() + "\n" for clip in clips))
    (project / "data" / "statistics").mkdir()
    (project / "data" / "statistics" / "tiny.npz").write_bytes(b"")
    return folder


def with_network(project: Path, spec: NetworkSpec = SPEC) -> Path:
    path = project / "checkpoints" / "untrained-0" / "network.pt"
    save_network(path, build_network(spec, seed=0), {"run": "untrained"})
    return path


def test_configuration(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    def said(*arguments: str) -> str:
        return complaint(capfd, project, "config", *arguments)

    assert said("--params", "nope.yaml") == "nope.yaml: no such configuration file"
    assert said("--base", "nope.yaml") == "nope.yaml: no such configuration file"
    assert said("--set", "synth.trian=3") == "--set: synth.trian: unknown key; did you mean 'synth.train'?"
    assert said("--set", "engine.workers=-1").startswith("--set: engine.workers: input should be greater than")
    assert said("--output", "nowhere/resolved.yaml") == "nowhere/resolved.yaml: No such file or directory"
    (project / "params.yaml").write_text("enginee: {workers: 2}\n")
    assert said() == "params.yaml: enginee: unknown key; did you mean 'engine'?"


def test_unknown_names(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    text = complaint(capfd, project, "pretrain", "avssa")
    assert text == "no run 'avssa' under pretrain.runs: choose one of avc, avc-long, avts, avsa"
    assert complaint(capfd, project, "evaluate", "avc", "bin") == (
        "no task 'bin': choose avc-bin, avsa-bin, segmentation, ucf101-N or hmdb51-N (folds N = 1, 2, 3)"
    )


def test_missing_inputs(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    assert "data/clips/tiny" in complaint(capfd, project, "stats")
    assert complaint(capfd, project, "pretrain", "avc") == (
        "no clip store at data/clips/tiny (manifest.jsonl: No such file or directory): run ingest"
    )
    assert complaint(capfd, project, "evaluate", "avc", "avc-bin") == "checkpoints/avc-0/network.pt: no such checkpoint"
    assert complaint(capfd, project, "inspect", "nope.mp4", "out.mp4") == "nope.mp4: no such file or folder"
    with_store(project, "train")
    assert complaint(capfd, project, "pretrain", "avsa", "--from", "avc", "--seed", "3") == (
        "checkpoints/avc-3/network.pt: missing; run the stages before this one (dvc repro)"
    )
    assert not (project / "mlflow.db").exists()  # nothing was begun


def test_an_empty_split(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    with_store(project, "test", "val")
    expected = "no clips of split 'train' in data/clips/tiny: it holds test, val"
    assert complaint(capfd, project, "stats") == expected
    with_network(project)
    (project / "data" / "statistics" / "tiny.npz").unlink()
    assert "data/statistics/tiny.npz: missing" in complaint(capfd, project, "pretrain", "avc")
    (project / "data" / "statistics" / "tiny.npz").write_bytes(b"")
    assert complaint(capfd, project, "pretrain", "avc") == expected


def test_statistics_of_other_features(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    with_store(project, "train", "train")
    with_network(project)
    measured = feature_settings(config.Views(), config.Audio(mels=64), 24000)
    zeros = np.zeros((4, 64), np.float32)
    Statistics(zeros, zeros + 1, measured).save(project / "data" / "statistics" / "tiny.npz")
    text = complaint(
        capfd, project, "pretrain", "avc", "--set", "pretrain.runs.avc=[{objective: avc, epochs: 1, batch: 2}]"
    )
    assert text.startswith("data/statistics/tiny.npz is of other features (kind ambisonics, scale power, mels 64, ")
    assert text.endswith("sample_rate 24000: run avsa stats")
    assert "--jobs" in "".join(usage(capfd, project, "synth", "--jobs", "0"))


def usage(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> list[str]:
    """What the user reads of a call that does not parse."""
    capfd.readouterr()
    assert avsa(folder, *arguments) == 2
    return capfd.readouterr().err.splitlines()


def test_checkpoints_of_something_else(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    with_store(project, "train")
    path = with_network(project, NetworkSpec(video_depth=10, video_width=1 / 8, audio_width=1 / 8))
    text = complaint(capfd, project, "pretrain", "avc")
    assert text.startswith("checkpoints/untrained-0/network.pt: checkpoint of another architecture: ")
    assert text.endswith("use the model settings it was trained with")
    with_network(project, NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16, audio_channels=7))
    assert complaint(capfd, project, "evaluate", "untrained", "avc-bin") == (
        "untrained listens to 7 channels, but audio.kind is ambisonics"
    )
    torch.save({"epoch": 3, "model": {}}, path)  # some other program's
    assert complaint(capfd, project, "evaluate", "untrained", "avc-bin").endswith(
        "not a checkpoint of this project (format 1)"
    )
    torch.save({"format": 1, "spec": {"video_depth": 10, "colour": 3}, "model": {}, "provenance": {}}, path)
    assert complaint(capfd, project, "evaluate", "untrained", "avc-bin").endswith("that this version does not know")


def test_damaged_checkpoints(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    with_store(project, "train")
    path = with_network(project)
    load_network(path)
    whole = path.read_bytes()
    middle = whole.index(b"video_model") + len(whole) // 2
    damaged = [
        whole[: len(whole) // 2],  # cut off
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],  # one bit of a weight
        b"",
        b"a text",
    ]
    for content in damaged:
        path.write_bytes(content)
        text = complaint(capfd, project, "evaluate", "untrained", "avc-bin")
        assert text.startswith("checkpoints/untrained-0/network.pt: cannot be read as a checkpoint: ")
        assert len(text) < 220


def test_a_checkpoint_cannot_run_code(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("open('pwned', 'w')",)

    path = with_network(project)
    torch.save({"format": 1, "spec": {}, "model": {}, "provenance": Payload()}, path)
    assert "cannot be read as a checkpoint" in complaint(capfd, project, "evaluate", "untrained", "avc-bin")
    assert not (project / "pwned").exists()


def test_training_settings_that_do_not_fit(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    with_store(project, "train")
    with_network(project)
    odd = ["--set", "engine.accumulate=3"]
    assert complaint(capfd, project, "pretrain", "avc", *odd) == (
        "avc 1/1: a batch of 112 clips cannot be split into engine.accumulate=3 parts"
    )
    assert complaint(capfd, project, "pretrain", "avc").endswith(
        "data/clips/tiny has 1 clips to train on, a batch takes 112: lower the batch"
    )
    if not torch.cuda.is_available():
        assert "no GPU" in complaint(capfd, project, "pretrain", "avc", "--set", "engine.device=cuda")


def test_debug_shows_where(project: Path) -> None:
    from avsa.errors import UserError

    with pytest.raises(UserError, match="no such configuration file") as caught:
        avsa(project, "config", "--debug", "--params", "nope.yaml")
    assert [entry.name for entry in caught.traceback][-1] == "read_mapping"


def test_a_real_process_with_an_output_in_the_way(project: Path) -> None:
    """MLflow, which makes its store here, adds nothing to the one line, and the run is recorded as failed."""
    (project / "data").write_text("in the way")
    process = start(project, "avsa", "synth")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert errors == "avsa: cannot write scenes to data/raw/tiny: Not a directory\n"
    assert output == ""
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("avsa")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    assert (project / "data").read_text() == "in the way"


def test_a_terminated_stage_is_recorded_as_killed(project: Path) -> None:
    """SIGTERM outside of training; what was rendered so far stays."""
    many = "synth={train: 100000, height: 32, duration_s: 1.0, fps: 8, sample_rate: 8000}"
    process = start(project, "avsa", "synth", "--jobs", "1", "--set", many)
    try:
        train = project / "data" / "raw" / ".tiny.unfinished" / "train"
        deadline = time.monotonic() + 300
        while process.poll() is None and not list(train.glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # launchers tend to send it twice
        process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 143
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("avsa")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]
