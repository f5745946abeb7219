"""The stage of the binary tasks: settings, kept features, foreign encoders, fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.clip import Clip
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.statistics import compute_statistics
from avsa.errors import UserError
from avsa.models.network import AVSANetwork, build_network
from avsa.resolve import resolve
from avsa.stages import paths
from avsa.stages.evaluate import run_evaluate
from avsa.stages.evaluate_binary import evaluate_binary, settings
from avsa.stages.frozen_features import FrozenFeatures
from avsa.stages.job import Figure, Job
from avsa.tasks.pretrain import network_spec

SETTINGS: dict[str, Any] = {
    "dataset": "tiny",
    "synth": {"train": 6, "val": 0, "test": 4, "places": 3, "height": 48, "duration_s": 1.0, "fps": 8,
              "sample_rate": 8000},
    "clips": {"clip_s": 1.0, "height": 48, "fps": 8, "sample_rate": 8000},
    "views": {"size": 24, "frames": 3, "audio_s": 0.5, "crops": 2},
    "audio": {"kind": "ambisonics+intensity", "mels": 16, "window": 256, "hop": 160},
    "model": {"video_depth": 10, "width": 0.0625, "head_dim": 16},
    "engine": {"workers": 0, "device": "cpu"},
    "pretrain": {"runs": {"avc": [{"objective": "avc", "epochs": 1}], "avsa": [{"objective": "avsa", "epochs": 1}]}},
}  # fmt: skip
CHOSEN = {"epochs": 2, "batch": 4, "lr": 1e-3}


def configured(**chosen: Any) -> Config:
    return Config.model_validate({**SETTINGS, "evaluate": {"batch": 4, "binary": {**CHOSEN, **chosen}}})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and its statistics."""
    folder, config = tmp_path_factory.mktemp("project"), configured()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        render_dataset(config.synth, paths.raw(config), 1)
        ingest(paths.raw(config), paths.clips(config), config.clips, 1)
        store = ClipStore(paths.clips(config), "train")
        compute_statistics(store, config.views, config.audio, 0, paths.statistics(config), progress=False)
    return folder


@pytest.fixture
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, with the same data."""
    (tmp_path / "data").symlink_to(project / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Recorded:
    """A run that remembers its metrics."""

    run_id = "run"

    def __init__(self) -> None:
        self.metrics: dict[str, dict[int, float]] = {}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.metrics.setdefault(name, {})[step] = float(value)

    def flush(self) -> None:
        pass

    def last_step(self, prefix: str = "") -> int:
        return max((max(steps) for name, steps in self.metrics.items() if name.startswith(prefix)), default=-1)


def job(config: Config, checkpoint: str = "avsa", encoder: Any = None, seed: int = 0) -> Job:
    run: Any = Recorded()
    encoder = encoder or network(config)
    provenance = {"translated": checkpoint == "avsa"} if checkpoint in ("untrained", "avc", "avsa") else {}
    return Job(config, checkpoint, seed, encoder, torch.device("cpu"), run, Path("out"), provenance)


def network(config: Config, seed: int = 0) -> AVSANetwork:
    return build_network(network_spec(config.model, config.audio), seed)


def measure(one: Job, task: str = "avc-bin") -> tuple[list[Figure], dict[str, dict[int, float]]]:
    run: Any = one.run
    return list(evaluate_binary(one, task)), run.metrics


class Own(nn.Module):
    """A user's encoder: the means of what it is given."""

    video_dim, audio_dim = 3, 14

    def video(self, video_BCTHW: Tensor) -> Tensor:
        return video_BCTHW.mean((2, 3, 4))

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        return torch.cat([audio_BCTM.mean((2, 3)), audio_BCTM.std((2, 3))], 1)


class OwnTranslating(Own):
    def translate(self, video_BKD: Tensor, audio_BKD: Tensor) -> tuple[Tensor, Tensor]:
        return video_BKD.flip(1), audio_BKD.flip(1)


# Settings


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    config = configured()
    plain = ["1 crop", "2 crops"]

    def named(config: Config, checkpoint: str, encoder: Any) -> list[str]:
        return [str(setting) for setting in settings(job(config, checkpoint, encoder))]

    for checkpoint, translates in (("untrained", False), ("avc", False), ("avsa", True), ("converted", True)):
        expected = plain + ["2 crops, translator"] * translates
        assert named(config, checkpoint, network(config)) == expected
    shallow = config.model_copy(update={"model": config.model.model_copy(deep=True, update={
        "translator": config.model.translator.model_copy(update={"depth": 0})})})  # fmt: skip
    assert named(shallow, "avsa", network(shallow)) == plain
    assert named(configured(translation="none"), "avsa", network(config)) == plain
    capsys.readouterr()
    assert named(config, "Own", Own()) == plain
    assert capsys.readouterr().out == "the setting with translators is left out: Own has no trained translators\n"
    assert named(config, "Own", OwnTranslating()) == [*plain, "2 crops, translator"]
    assert named(configured(audio_only=True), "avc", network(config)) == [*plain, "2 crops, audio only"]
    assert named(configured(train="all"), "avsa", network(config)) == [
        "1 crop, fine-tuned", "2 crops, fine-tuned", "2 crops, translator, fine-tuned",
    ]  # fmt: skip


# Kept features


def test_both_tasks_share_the_features_and_no_figure_tells(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = {"audio_only": True, "per_crop": True, "lr": [1e-3, 1e-4], "val_share": 0.5}
    without = {task: measure(job(configured(cache_gb=0, **everything)), task)[0] for task in ("avc-bin", "avsa-bin")}
    assert not (here / paths.FEATURES).exists()
    capsys.readouterr()
    made, first = measure(job(configured(**everything)), "avc-bin")
    assert "features in" in capsys.readouterr().out
    kept, second = measure(job(configured(**everything)), "avsa-bin")
    assert f"kept in {paths.FEATURES}: " in capsys.readouterr().out
    assert {"avc-bin": made, "avsa-bin": kept} == without
    assert (first["features/cached"], second["features/cached"]) == ({0: 0}, {0: 1})
    assert first["features/seconds_saved"] == {0: 0}
    saved = second["features/seconds_saved"][0]
    assert saved == pytest.approx(first["features/seconds"][0] - second["features/seconds"][0])

    assert [(figure.setting, figure.metric) for figure in made] == [
        ("1 crop", "accuracy"), ("2 crops", "accuracy"), ("2 crops", "accuracy_crop"),
        ("2 crops, translator", "accuracy"), ("2 crops, translator", "accuracy_crop"),
        ("2 crops, audio only", "accuracy"), ("2 crops, audio only", "accuracy_crop"),
    ]  # fmt: skip
    assert {figure.n for figure in made if figure.metric == "accuracy"} == {4 * 2 * 2}  # clips × views × labels
    assert first["avc-bin/2-crops-translator/lr"][0] in (1e-3, 1e-4)


def test_few_views_are_the_first_of_all(here: Path) -> None:
    features = FrozenFeatures(job(configured(cache_gb=0)))
    whole, few = vars(features.of("train", 2, 0)), vars(features.of("train", 2, 0, most=3))
    assert len(whole["source_R"]) == 6 * 2
    assert len(few["source_R"]) == 4  # whole batches
    for name in whole:
        torch.testing.assert_close(few[name], whole[name][:4], rtol=0, atol=0)
    assert len(features.of("train", 2, 0, most=99).source_R) == 6 * 2


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "weights": {"model": 1},
    "one weight": {"weight": 1e-7},
    "seed": {"seed": 1},
    "batch": {"evaluate": {"batch": 3, "binary": CHOSEN}},
    "crops": {"views": {**SETTINGS["views"], "crops": 3}},
    "precision": {"engine": {**SETTINGS["engine"], "precision": "fp32"}},
    "repeats": {"repeats": 2},
    "views": {"most": 4},
    "split": {"split": "test"},
    "statistics": {"touch": "data/statistics/tiny.npz"},
    "store": {"touch": "data/clips/tiny/manifest.jsonl"},
    "heads": {"evaluate": {"batch": 4, "binary": {**CHOSEN, "lr": 1.0, "epochs": 50}}},
    "encoder's argument": {"checkpoint": "own:build:max"},
    "mirror": {"views": {**SETTINGS["views"], "mirror": 0.1, "gain_jitter": 0.3}},
}
UNCHANGED = {"nothing", "heads", "mirror"}  # the features know neither heads nor augmentation


def clip_line(name: str) -> str:
    """A manifest of one clip."""
    clip = Clip(
        id=name, source=f"{name}.mp4", split="train", start_s=0, duration_s=1, width=8, height=4, fps=8, frames=8,
        sample_rate=8000, shard="shard-00000.tar", members={"mp4": (0, 1)}, checks={},
    )  # fmt: skip
    return clip.model_dump_json() + "\n"


@pytest.mark.parametrize("change", CHANGES)
def test_features_are_made_again_where_anything_they_depend_on_changes(
    here: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr("avsa.engine.precision.has_bf16", lambda device: True)
    monkeypatch.setattr("avsa.stages.frozen_features.has_bf16", lambda device: True)
    (here / "data").unlink()
    for name in ("statistics/tiny.npz", "clips/tiny/manifest.jsonl"):
        (here / "data" / name).parent.mkdir(parents=True)
        (here / "data" / name).write_text(clip_line("as-it-was"))
    chosen = dict(CHANGES[change])
    before = FrozenFeatures(job(configured()))._key("train", 1, 0)

    if "touch" in chosen:
        Path(chosen.pop("touch")).write_text(clip_line("changed"))
    base = {**SETTINGS, "evaluate": {"batch": 4, "binary": CHOSEN}}
    split, repeats, seed = chosen.pop("split", "train"), chosen.pop("repeats", 1), chosen.pop("seed", 0)
    most = chosen.pop("most", None)
    encoder = network(configured(), chosen.pop("model", 0))
    with torch.no_grad():
        encoder.state_dict()["video_model.conv1.1.running_mean"][0] += chosen.pop("weight", 0.0)
    checkpoint = chosen.pop("checkpoint", "avsa")
    config = Config.model_validate({**base, **chosen})
    after = FrozenFeatures(job(config, checkpoint, encoder))._key(split, repeats, seed, most)
    assert (after == before) == (change in UNCHANGED)


# Encoders


def test_an_own_encoder_is_measured(here: Path) -> None:
    figures, _ = measure(job(configured(), "Own", OwnTranslating()))
    assert [figure.setting for figure in figures] == ["1 crop", "2 crops", "2 crops, translator"]


def test_encoders_that_do_not_fit_are_one_line(here: Path) -> None:
    silent: Any = nn.Module()
    silent.video, silent.video_dim = nn.Flatten(), 7
    with pytest.raises(UserError, match="avsa-bin needs audio_dim, audio, which the encoder Module does not have"):
        measure(job(configured(), "own", silent), "avsa-bin")
    mono = Config.model_validate({**SETTINGS, "audio": {**SETTINGS["audio"], "kind": "mono"}})
    with pytest.raises(UserError, match=r"avsa listens to 1 channels, but audio.kind is ambisonics\+intensity"):
        measure(job(configured(), encoder=network(mono)))


def test_an_own_encoder_by_name(here: Path) -> None:
    """The records say whose figures they are."""
    (here / "params.yaml").write_text(json.dumps({**SETTINGS, "evaluate": {"batch": 4, "binary": CHOSEN}}))
    (here / "own_means.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Means(nn.Module):\n    video_dim, audio_dim = 3, 7\n\n"
        "    def video(self, x):\n        return x.mean((2, 3, 4))\n\n"
        "    def audio(self, x):\n        return x.mean((2, 3))\n\n\ndef means():\n    return Means()\n"
    )
    run_evaluate(resolve(), "own_means:means", "avsa-bin", 0)
    records = json.loads((here / "evaluations" / "means-avsa-bin-0" / "results.json").read_text())
    assert {(record["model"], record["pretext"], record["setting"]) for record in records} == {
        ("Means", "means", "1 crop"), ("Means", "means", "2 crops"),
    }  # fmt: skip


# Fine-tuning


def test_fine_tuning(here: Path) -> None:
    config = configured(train="all", test_views_per_clip=1, milestones=[1])
    one = job(config)
    before = {name: tensor.clone() for name, tensor in one.encoder.state_dict().items()}
    figures, logged = measure(one, "avsa-bin")
    assert [figure.setting for figure in figures] == [
        "1 crop, fine-tuned", "2 crops, fine-tuned", "2 crops, translator, fine-tuned",
    ]  # fmt: skip
    assert {figure.n for figure in figures} == {4 * 2}
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.encoder.state_dict().items())
    rates = logged["avsa-bin/2-crops-fine-tuned/train/lr"]
    assert max(rates) == 2 * 2  # steps: epochs × views, one batch of four of the six clips each
    assert rates[max(rates)] == pytest.approx(1e-4)  # after the milestone
    assert set(logged) >= {f"avsa-bin/{figure.setting.replace(', ', '-').replace(' ', '-')}/train/loss"
                           for figure in figures}  # fmt: skip
    assert sorted(Path("runs").iterdir()) == sorted(one.finished)  # the stage that writes the results removes them
    again = job(config)
    assert measure(again, "avsa-bin") == (figures, {})  # nothing is trained a second time
    assert again.finished == one.finished

    with pytest.raises(UserError, match=r"takes one learning rate, evaluate\.binary\.lr has 2"):
        measure(job(configured(train="all", lr=[1e-3, 1e-4])))
    parts = Config.model_validate({**config.model_dump(), "engine": {**SETTINGS["engine"], "accumulate": 3}})
    with pytest.raises(UserError, match=r"evaluate\.binary\.batch 4 is no multiple of engine\.accumulate"):
        measure(job(parts))
