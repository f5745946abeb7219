"""The untrained network: its weights are random, its normalisation is the data's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.loader import ClipLoader
from avsa.data.statistics import compute_statistics
from avsa.models.network import build_network
from avsa.stages import paths
from avsa.stages.init import calibrate
from avsa.stages.inputs import build_views
from avsa.tasks.pretrain import network_spec

CONFIG = Config.model_validate(
    {
        "dataset": "tiny",
        "synth": {"train": 6, "val": 0, "test": 0, "height": 48, "duration_s": 1.0, "fps": 8, "sample_rate": 8000},
        "clips": {"clip_s": 1.0, "height": 48, "fps": 8, "sample_rate": 8000},
        "views": {"size": 24, "frames": 3, "audio_s": 0.5, "crops": 2},
        "audio": {"mels": 16, "window": 256, "hop": 160},
        "model": {"video_depth": 10, "width": 0.0625, "head_dim": 16},
        "evaluate": {"batch": 4},
        "engine": {"workers": 0},
    }
)


def test_statistics_are_the_mean_over_batches_and_weights_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    render_dataset(CONFIG.synth, paths.raw(CONFIG), 1)
    ingest(paths.raw(CONFIG), paths.clips(CONFIG), CONFIG.clips, 1)
    store = ClipStore(paths.clips(CONFIG), "train")
    compute_statistics(store, CONFIG.views, CONFIG.audio, 0, paths.statistics(CONFIG))
    spec = network_spec(CONFIG.model, CONFIG.audio)
    network, before = build_network(spec, 3), build_network(spec, 3)

    calibrate(network, CONFIG, seed=3)

    for (name, value), old in zip(network.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(value, old), name
    views = build_views(CONFIG)
    loader = ClipLoader(store, CONFIG.views, seed=3, batch=4, drop_last=False)
    means, variances = [], []
    with torch.no_grad():
        for batch in loader.epoch(0):  # the first layer's, from its definition
            mapped = before.audio_model.conv1[0](views.audio(batch).flatten(0, 1)).transpose(0, 1).flatten(1).double()
            mean = mapped.sum(1) / mapped.shape[1]
            means.append(mean)
            variances.append(((mapped - mean[:, None]) ** 2).sum(1) / (mapped.shape[1] - 1))
    assert len(means) == 2  # 4 clips, then the other 2
    first = network.audio_model.conv1[1]
    torch.testing.assert_close(first.running_mean.double(), sum(means) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var.double(), sum(variances) / 2, rtol=1e-4, atol=1e-6)
    # A layer deep inside keeps the scale of its input, which it does not where statistics are those of no data.
    network.eval()
    before.eval()
    video = views.video(next(loader.epoch(1))).flatten(0, 1)
    with torch.no_grad():
        assert network.video(video).std() > 5 * before.video(video).std()
