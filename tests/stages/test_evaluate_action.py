"""The whole evaluation on a tiny motion set: figures, files, interruption, bad input."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from avsa.acquire.motion import render_motion
from avsa.config import Config
from avsa.errors import UserError
from avsa.models.network import NetworkSpec, build_network
from avsa.stages.evaluate_action import evaluate_action
from avsa.stages.job import Figure, Job

SPEC = NetworkSpec(video_depth=10, video_width=1 / 32, audio_width=1 / 32)
SETTINGS: dict[str, Any] = {
    "motion": {
        "height": 32, "duration_s": [0.6, 0.8], "places": 2,
        "ucf101": {"train": 2, "test": 1, "clips": 1}, "hmdb51": {"train": 1, "test": 1, "clips": 2},
    },
    "views": {"size": 16, "frames": 2},
    "clips": {"fps": 8},
    "evaluate": {
        "batch": 8,
        "action": {
            "epochs": 2, "milestones": [1], "batch": 6, "lr": 1e-3, "test_clips": 3, "mirror": 0.0,
            "clips_per_video": {"ucf101": 1, "hmdb51": 1},
        },
    },
    "engine": {"workers": 0, "precision": "fp32", "log_every": 1, "device": "cpu"},
}  # fmt: skip


class Memory:
    """A run that remembers, and that fails at a step if told to."""

    run_id = "run"

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.logged: dict[int, Mapping[str, float]] = {}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.logged[step] = metrics
        if step == self.fails_at:
            raise ConnectionError("the store is gone")

    def flush(self) -> None: ...

    def last_step(self) -> int:
        return -1


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("actions")
    render_motion(Config.model_validate(SETTINGS).motion, root, jobs=1)
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(root: Path, out: Path, run: Memory | None = None, encoder: Any = None, **action: Any) -> Job:
    out.mkdir(exist_ok=True)
    config = Config.model_validate(SETTINGS)
    chosen = config.evaluate.action.model_copy(update={"root": str(root), **action})
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"action": chosen})})
    network = encoder or build_network(SPEC, seed=0)
    tracker: Any = run or Memory()
    return Job(config, "untrained", 0, network, torch.device("cpu"), tracker, out)


def measure(job: Job, task: str) -> dict[str, Figure]:
    return {figure.metric: figure for figure in evaluate_action(job, task)}


@pytest.mark.parametrize(("task", "classes", "videos"), [("ucf101-2", 8, 8), ("hmdb51-3", 6, 12)])
def test_figures_agree_with_the_written_predictions(
    rendered: Path, project: Path, task: str, classes: int, videos: int
) -> None:
    run = Memory()
    made = job(rendered, project / "out", run)
    figures = measure(made, task)
    assert set(figures) == {"clip_top1", "clip_top5", "video_top1", "video_top5"}
    assert {figure.setting for figure in figures.values()} == {"fine-tuned"}
    assert (figures["video_top1"].n, figures["clip_top1"].n) == (videos, 3 * videos)
    with (project / "out" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["video"] for row in rows}) == videos
    assert len({row["class"] for row in rows}) == classes
    right = sum(row["class"] == row["predicted"] for row in rows)
    assert figures["video_top1"].value == pytest.approx(100 * right / videos)
    for figure in figures.values():
        assert figure.ci95[0] <= figure.value <= figure.ci95[1]
    assert figures["clip_top5"].value >= figures["clip_top1"].value
    with Image.open(project / "out" / "confusion.png") as picture:
        assert min(picture.size) > 200
    steps = 2 * 2  # epochs × batches of 6 among 16 and 12 videos
    assert list(run.logged) == list(range(1, steps + 1))
    assert [run.logged[step]["train/lr"] for step in run.logged] == pytest.approx([1e-3, 1e-3, 3e-4, 3e-4])
    assert made.finished == [path.relative_to(project) for path in (project / "runs").iterdir()]


def test_interrupted_and_started_again_it_says_the_same(rendered: Path, project: Path) -> None:
    measure(job(rendered, project / "whole"), "ucf101-1")
    shutil.rmtree(project / "runs")
    with pytest.raises(ConnectionError):
        measure(job(rendered, project / "broken", Memory(fails_at=3)), "ucf101-1")
    (state,) = (project / "runs").iterdir()
    assert (state / "state.pt").exists()
    again = Memory()
    measure(job(rendered, project / "broken", again), "ucf101-1")
    assert list(again.logged) == [3, 4]  # the first epoch was kept
    names = ("predictions.csv", "confusion.png")
    assert all((project / "whole" / n).read_bytes() == (project / "broken" / n).read_bytes() for n in names)


def test_a_failure_in_the_test_pass_leaves_the_training(
    rendered: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(job(rendered, project / "whole"), "ucf101-1")
    shutil.rmtree(project / "runs")

    def fails(*_: Any) -> None:
        raise MemoryError("no room for the test videos")

    with monkeypatch.context() as patch:
        patch.setattr("avsa.stages.evaluate_action._predict", fails)
        with pytest.raises(MemoryError):
            measure(job(rendered, project / "broken"), "ucf101-1")
    again = Memory()
    measure(job(rendered, project / "broken", again), "ucf101-1")
    assert not again.logged  # nothing was left to train
    whole, broken = ((project / name / "predictions.csv").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_another_seed_or_checkpoint_trains_anew(rendered: Path, project: Path) -> None:
    with pytest.raises(ConnectionError):
        measure(job(rendered, project / "a", Memory(fails_at=3)), "ucf101-1")
    other = Memory()
    measure(job(rendered, project / "b", other, encoder=build_network(SPEC, seed=1)), "ucf101-1")
    assert list(other.logged) == [1, 2, 3, 4]


class Sound(nn.Module):
    """An encoder without pictures."""

    audio_dim = 4


@pytest.mark.parametrize(
    ("task", "changed", "line"),
    [
        ("ucf101-4", {}, "ucf101-4: ucf101 has the folds 1, 2 and 3"),
        ("hmdb51-1", {"batch": 13}, "hmdb51 has 12 clips to train on, a batch takes 13: lower the batch"),
        ("ucf101-1", {"root": "nowhere"}, "nowhere/ucf101: no data set here"),
        ("ucf101-1", {"encoder": Sound()}, "ucf101-1 needs video, video_dim, which the encoder Sound does not have"),
    ],
)
def test_bad_input_is_one_line(rendered: Path, project: Path, task: str, changed: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        measure(job(changed.pop("root", rendered), project / "out", **changed), task)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_of_a_batch_are_whole(rendered: Path, project: Path) -> None:
    made = job(rendered, project / "out")
    engine = made.config.engine.model_copy(update={"accumulate": 4})
    object.__setattr__(made, "config", made.config.model_copy(update={"engine": engine}))
    with pytest.raises(UserError, match=r"evaluate\.action\.batch 6 is no multiple of engine\.accumulate"):
        measure(made, "ucf101-1")
