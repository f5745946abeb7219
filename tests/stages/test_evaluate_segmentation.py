"""The stage: from a store with label maps to figures, a table and pictures."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.statistics import compute_statistics
from avsa.errors import UserError
from avsa.models.network import AVSANetwork, build_network
from avsa.stages import paths
from avsa.stages.evaluate_segmentation import available_inputs, evaluate_segmentation
from avsa.stages.job import Job
from avsa.tasks.pretrain import network_spec

SETTINGS = {
    "dataset": "tiny",
    "synth": {
        "train": 6, "val": 0, "test": 4, "places": 3, "height": 48, "duration_s": 1.0, "fps": 8, "sample_rate": 8000,
    },
    "clips": {"clip_s": 1.0, "height": 48, "fps": 8, "sample_rate": 8000},
    "views": {"size": 24, "frames": 3, "audio_s": 0.5, "crops": 2},
    "audio": {"kind": "ambisonics+intensity", "mels": 16, "window": 256, "hop": 160},
    "model": {"video_depth": 10, "width": 0.0625, "head_dim": 16},
    "pretrain": {"runs": {"avc": [{"objective": "avc", "epochs": 1}], "avsa": [{"objective": "avsa", "epochs": 1}]}},
    "engine": {"workers": 0, "precision": "fp32"},
}  # fmt: skip
CHOSEN = {"dim": 8, "branch": 8, "epochs": 2, "milestones": [1], "batch": 4, "test_views_per_clip": 2, "lr": 1e-3}


def configured(**chosen: Any) -> Config:
    return Config.model_validate({**SETTINGS, "evaluate": {"batch": 4, "segmentation": {**CHOSEN, **chosen}}})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and its statistics."""
    folder, config = tmp_path_factory.mktemp("project"), configured()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        render_dataset(config.synth, paths.raw(config), 1)
        ingest(paths.raw(config), paths.clips(config), config.clips, 1)
        store = ClipStore(paths.clips(config), "train")
        compute_statistics(store, config.views, config.audio, 0, paths.statistics(config))
    return folder


class Recorded:
    """A run that remembers its metrics."""

    run_id = "run"

    def __init__(self) -> None:
        self.metrics: list[tuple[dict[str, float], int]] = []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((dict(metrics), step))


def job(config: Config, out: Path, checkpoint: str = "avsa", encoder: Any = None) -> Job:
    run: Any = Recorded()
    encoder = encoder or build_network(network_spec(config.model, config.audio), seed=0)
    provenance = {"translated": checkpoint == "avsa"} if checkpoint in ("untrained", "avc", "avsa") else {}
    return Job(config, checkpoint, 0, encoder, torch.device("cpu"), run, out, provenance)


def test_figures_table_and_pictures(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    inputs = ["video", "video+audio", "video+audio+context", "end-to-end"]
    measured = job(configured(inputs=inputs), tmp_path)
    figures = list(evaluate_segmentation(measured, "segmentation"))
    assert [(figure.setting, figure.metric) for figure in figures] == [
        (name, metric) for name in inputs for metric in ("pixel_accuracy", "miou", "miou_image")
    ]
    for figure in figures:
        assert 0 <= figure.ci95[0] <= figure.value <= figure.ci95[1] <= 100
        assert figure.n == 4 * 2 * 2  # clips × windows × crops
    logged: Any = measured.run
    assert [step for _, step in logged.metrics] == [0, 1]
    assert set(logged.metrics[0][0]) == {f"segmentation/{name.replace('+', '-')}/loss" for name in inputs}

    with (tmp_path / "classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["class", "kind", "pixels", *inputs]
    assert len(rows) == 20
    assert sum(row["kind"] == "thing" for row in rows) == 12
    assert sum(float(row["pixels"]) for row in rows) == pytest.approx(100, abs=0.1)
    for name in inputs:  # the table's mean is the figure
        ious = [float(row[name]) for row in rows if row[name]]
        (miou,) = (figure.value for figure in figures if (figure.setting, figure.metric) == (name, "miou"))
        assert sum(ious) / len(ious) == pytest.approx(miou, abs=0.01)
    assert Image.open(tmp_path / "segments.png").width > 1000
    assert Image.open(tmp_path / "confusion.png").height > 3000


def test_features_that_are_kept(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch is the same whether its features are kept or not; a second has the same crops again, or others."""
    monkeypatch.chdir(project)

    def losses(fresh: bool) -> list[float]:
        one = job(configured(inputs=["video"], batch=6, epochs=2, fresh_views=fresh), tmp_path)
        list(evaluate_segmentation(one, "segmentation"))
        recorded: Any = one.run
        return [metrics["segmentation/video/loss"] for metrics, _ in recorded.metrics]

    (first, kept), (same, others) = losses(fresh=False), losses(fresh=True)
    assert first == same
    assert kept != others


def test_an_interrupted_evaluation_goes_on(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    class Killed(Recorded):
        def log(self, metrics: Mapping[str, float], step: int) -> None:
            super().log(metrics, step)
            if step == 1:
                raise KeyboardInterrupt

    def one(run: Any) -> Job:
        return replace(job(configured(inputs=["video"], lr=2e-3), tmp_path), run=run)

    whole, killed, resumed = Recorded(), Killed(), Recorded()
    ended = one(whole)
    figures = list(evaluate_segmentation(ended, "segmentation"))
    (state,) = ended.finished
    shutil.rmtree(state)
    with pytest.raises(KeyboardInterrupt):
        list(evaluate_segmentation(one(killed), "segmentation"))
    assert list(evaluate_segmentation(one(resumed), "segmentation")) == figures
    assert resumed.metrics == whole.metrics[1:]


def test_chosen_classes(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (tmp_path / "ids.txt").write_text("12\n19\n")
    config = configured(classes=str(tmp_path / "ids.txt"), inputs=["video"])
    list(evaluate_segmentation(job(config, tmp_path), "segmentation"))
    with (tmp_path / "classes.csv").open(encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["sky", "paving"]


# Which inputs


class WithoutSound:
    """Sees, and hears nothing."""

    def video_maps(self, video_BCTHW: torch.Tensor) -> list[torch.Tensor]:
        raise NotImplementedError


def test_what_an_encoder_does_not_offer_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = ["video", "video+audio", "video+audio+context"]
    assert available_inputs(job(configured(), tmp_path, "avsa")) == context
    assert not capsys.readouterr().out
    for checkpoint in ("avc", "untrained"):
        assert available_inputs(job(configured(), tmp_path, checkpoint)) == context[:2]
        line = f"segmentation from video+audio+context is left out: {checkpoint} has no trained translators"
        assert capsys.readouterr().out.splitlines() == [line]
    assert available_inputs(job(configured(), tmp_path, "theirs")) == context  # made elsewhere: what it has, it has
    assert available_inputs(job(configured(), tmp_path, "theirs", WithoutSound())) == ["video"]
    assert "video+audio is left out: theirs has no audio" in capsys.readouterr().out
    with pytest.raises(UserError, match="theirs offers none of"):
        available_inputs(job(configured(inputs=["video+audio"]), tmp_path, "theirs", WithoutSound()))


def test_a_network_without_translators(tmp_path: Path) -> None:
    model = {**SETTINGS["model"], "translator": {"depth": 0}}  # type: ignore[dict-item]
    config = Config.model_validate({**SETTINGS, "model": model})
    assert available_inputs(job(config, tmp_path)) == ["video", "video+audio"]


# What goes wrong


def test_features_that_do_not_fit(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("avsa.stages.evaluate_segmentation.OF_FREE_MEMORY", 1e-9)
    with pytest.raises(UserError, match=r"features of all training crops take .* GB.*fresh_views"):
        list(evaluate_segmentation(job(configured(fresh_views=False), tmp_path), "segmentation"))


def test_audio_of_another_kind(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    config = configured()
    spec = network_spec(config.model, config.audio.model_copy(update={"kind": "mono"}))
    network: AVSANetwork = build_network(spec, seed=0)
    with pytest.raises(UserError, match="avsa listens to 1 channels"):
        list(evaluate_segmentation(job(config, tmp_path, encoder=network), "segmentation"))
