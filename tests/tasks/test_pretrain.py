"""Pre-training: which parameters an objective trains, and a step of the paper's size."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avsa import config
from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.data.loader import ClipLoader
from avsa.data.statistics import compute_statistics
from avsa.data.views import Views
from avsa.engine.optim import adam
from avsa.losses import OBJECTIVES, ContrastiveObjective
from avsa.losses.infonce import normalise
from avsa.models.network import NetworkSpec, build_network
from avsa.models.translator import TranslatorKind
from avsa.resolve import resolve
from avsa.tasks.pretrain import AUDIO_CHANNELS, PretrainTask, network_spec

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs" / "paper.yaml"


@pytest.mark.parametrize("translator", ["transformer", "mlp", "none"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_exactly_what_is_trained_gets_a_gradient(objective: str, translator: TranslatorKind) -> None:
    spec = NetworkSpec(video_depth=10, video_width=1 / 32, audio_width=1 / 32, translator=translator)
    generator = torch.Generator().manual_seed(0)
    video_NKCTHW = torch.randn(4, 2, 3, 2, 16, 16, generator=generator)
    audio_NKCTM = torch.randn(4, 2, 4, 16, 16, generator=generator)
    views: Any = lambda batch: (video_NKCTHW, audio_NKCTM)  # noqa: E731
    batch: Any = SimpleNamespace(
        clip_N=torch.tensor([0, 0, 1, 1]), source_N=torch.tensor([0, 0, 1, 1]), moment_N=torch.tensor([0, 1, 0, 1])
    )
    task = PretrainTask(build_network(spec, seed=0), views, ContrastiveObjective(objective))
    loss, _ = task.step(batch)
    loss.backward()
    names = {id(parameter): name for name, parameter in task.model.named_parameters()}
    reached = {name for name, parameter in task.model.named_parameters() if parameter.grad is not None}
    trained = [names[id(parameter)] for parameter in task.trained()]
    assert set(trained) == reached
    assert len(trained) == len(set(trained))
    assert (reached == set(names.values())) == OBJECTIVES[objective].translated


@pytest.mark.parametrize("kind", AUDIO_CHANNELS)
def test_the_network_listens_to_as_many_channels_as_the_features_have(kind: str) -> None:
    audio = config.Audio.model_validate({"kind": kind, "mels": 16, "window": 256, "hop": 160})
    views = Views(config.Views(audio_s=0.25), audio, 8000)
    features = views.features(torch.randn(1, 4, 2000), torch.eye(4).expand(1, 1, 4, 4))
    assert network_spec(config.Model(), audio).audio_channels == features.shape[2]


def test_the_defaults_describe_the_networks_of_the_paper() -> None:
    assert network_spec(config.Model(), config.Audio()) == NetworkSpec()


def test_the_network_follows_the_configuration() -> None:
    model = config.Model.model_validate(
        {
            "video_depth": 10,
            "width": 0.25,
            "head_dim": 16,
            "translator": {"kind": "mlp", "depth": 1, "expansion": 3, "heads": 2, "dropout": 0.2},
        }
    )
    spec = network_spec(model, config.Audio(kind="mono"))
    assert spec == NetworkSpec(10, 0.25, 0.25, 1, "mlp", 1, 3, 2, 0.2, head_dim=16)


def test_paper_yaml_changes_nothing_that_the_paper_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # away from params.yaml
    chosen = resolve(base=str(PAPER)).config
    assert chosen.model_copy(update={"base": "", "synth": config.Synth()}) == config.Config()


def test_a_step_at_the_size_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panoramas of 960×480 through ingest and loader into R(2+1)D-18: the loss is finite, and Adam moves everything."""
    overrides = [
        "synth.train=2", "synth.val=0", "synth.test=0", "synth.duration_s=1.0",
        "clips.clip_s=1.0", "pretrain.runs.avsa=[{objective: avsa, epochs: 1, batch: 2}]",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    chosen = resolve(base=str(PAPER), overrides=overrides).config
    render_dataset(chosen.synth, tmp_path / "raw", jobs=1)
    assert ingest(tmp_path / "raw", tmp_path / "clips", chosen.clips, jobs=1).clips == 2
    store = ClipStore(tmp_path / "clips", "train")
    assert {(clip.width, clip.height, clip.fps) for clip in store} == {(960, 480, 16.0)}

    (phase,) = chosen.pretrain.runs["avsa"]
    statistics = compute_statistics(store, chosen.views, chosen.audio, 0, tmp_path / "statistics.npz", progress=False)
    views = Views(chosen.views, chosen.audio, store[0].sample_rate, statistics)
    loader = ClipLoader(store, chosen.views, batch=phase.batch, moments=phase.moments)
    batch = next(loader.epoch(0))
    video_NKCTHW, audio_NKCTM = views(batch)
    assert video_NKCTHW.shape == (2, 4, 3, 8, 112, 112)
    assert audio_NKCTM.shape == (2, 4, 4, 100, 128)

    network = build_network(network_spec(chosen.model, chosen.audio), seed=0)
    objective = ContrastiveObjective(phase.objective, chosen.pretrain.candidates, chosen.pretrain.temperature)
    task = PretrainTask(network, views, objective)
    optimiser = adam(task.trained(), chosen.pretrain.weight_decay)
    for group in optimiser.param_groups:
        group["lr"] = phase.lr
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    loss, metrics = task.step(batch)
    loss.backward()
    optimiser.step()

    # An untrained network's candidates are about alike: InfoNCE begins near the logarithm of their number, 2 × 4.
    assert float(loss.detach()) == pytest.approx(math.log(8), abs=1.5)
    assert {"accuracy_v2a", "accuracy_a2v", "within_clip_v2a", "within_clip_a2v"} == metrics.keys()
    for name, parameter in network.named_parameters():
        assert bool(parameter.isfinite().all()), name
        moved = (parameter.detach() - before[name]).abs().max()
        assert 0 < float(moved) <= 1.01 * phase.lr, name  # Adam's first step is ± lr


def test_clips_of_one_recording_are_no_easy_negatives() -> None:
    """AVC contrasts a clip with other recordings: another clip of its own counts neither way."""
    network = build_network(NetworkSpec(video_depth=10, video_width=1 / 32, audio_width=1 / 32), seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    video_NKCTHW = torch.randn(3, 1, 3, 2, 16, 16, generator=generator)
    audio_NKCTM = torch.randn(3, 1, 4, 16, 16, generator=generator)

    def loss(rows: list[int], source: list[int]) -> float:
        views: Any = lambda batch: (video_NKCTHW[rows], audio_NKCTM[rows])  # noqa: E731
        clips = torch.tensor(rows)
        batch: Any = SimpleNamespace(clip_N=clips, source_N=torch.tensor(source), moment_N=torch.zeros_like(clips))
        return float(PretrainTask(network, views, ContrastiveObjective("avc")).step(batch)[0])

    with torch.no_grad():
        together = loss([0, 1, 2], [0, 0, 1])
        apart = loss([0, 1, 2], [0, 1, 2])
        video_NE = normalise(network.video_head(network.video(video_NKCTHW.flatten(0, 1))))
        audio_NE = normalise(network.audio_head(network.audio(audio_NKCTM.flatten(0, 1))))
    cosine_NN = video_NE @ audio_NE.T / 0.07
    rows = []
    for scores_NN in (cosine_NN, cosine_NN.T):
        for row, candidates in enumerate(([0, 2], [1, 2], [0, 1, 2])):
            rows.append(float(scores_NN[row, candidates].logsumexp(0) - scores_NN[row, row]))
    assert together == pytest.approx(sum(rows) / 6, abs=1e-5)
    assert together < apart
