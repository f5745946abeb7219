"""A registered model through MLflow: clips in by path and as bytes, features and a score out, wrong input refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from torch.nn import functional as F

from avsa.acquire.synth.media import write_audio, write_video
from avsa.data.statistics import Statistics, feature_settings
from avsa.models.checkpoint import save_network
from avsa.models.network import AVSANetwork, build_network
from avsa.report.records import Record, write_records
from avsa.resolve import Resolved, resolve
from avsa.stages import paths
from avsa.stages.register import best, run_register
from avsa.stages.serve import MOST_ROWS
from avsa.tasks.pretrain import network_spec
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file

FPS, RATE, HEIGHT, SECONDS = 8, 8000, 48, 1.0
OVERRIDES = [
    "dataset=tiny",
    "clips={clip_s: 1.0, height: 48, fps: 8, sample_rate: 8000}",
    "views={size: 24, frames: 3, audio_s: 0.5, crops: 3, fov_deg: [80, 100]}",
    "audio={kind: ambisonics+intensity, mels: 16, window: 256, hop: 160}",
    "model={video_depth: 10, width: 0.0625, head_dim: 16, translator: {depth: 1}}",
    "pretrain.runs={avc: [{objective: avc, epochs: 1}], avsa: [{objective: avsa, epochs: 1, temperature: 0.2}]}",
    "engine.device=cpu",
]


@dataclass
class Served:
    """A project whose checkpoints avc-0 and avsa-0 are registered, loaded as MLflow does it."""

    folder: Path
    resolved: Resolved
    model: Any


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", "")
        resolved = resolve(overrides=OVERRIDES)
        config = resolved.config
        spec = network_spec(config.model, config.audio)
        zeros = np.zeros((7, 16), np.float32)
        Statistics(zeros - 3, zeros + 2, feature_settings(config.views, config.audio, RATE)).save(
            paths.statistics(config)
        )
        for seed, name in enumerate(("avc", "avsa")):
            with stage_run(resolved, "pretrain", f"{name}-0") as run:
                run.log({"train/loss": 1.0 + seed}, step=7)
                network = build_network(spec, seed)
                save_network(paths.network(name, 0), network, {"run": name, "seed": 0})
                write_run_file(paths.checkpoint(name, 0) / RUN_FILE, run)
                run.checkpoint(f"{name}-0", paths.network(name, 0), {"seed": 0})
        measured = [
            record("avc", 60.0),
            record("avsa", 80.0),
            record("avsa", 70.0, "4 crops"),
            record("avc", 75.0, "x"),
        ]
        write_records(paths.RESULTS, measured)
        (folder / "clips").mkdir()
        clip(folder / "clips/pair.mp4", sound_inside=False)
        clip(folder / "clips/one.mp4", sound_inside=True)
        patch.setenv("AVSA_CLIPS", str(folder / "clips"))
        assert run_register(resolved, "avc", 0, "avsa-bin", "avsa", "first").endswith(
            "now models:/avsa/1, models:/avsa@first"
        )
        run_register(resolved, None, 0, "avsa-bin", "avsa", "best")
        yield Served(folder, resolved, mlflow.pyfunc.load_model("models:/avsa@best"))


def record(pretext: str, value: float, setting: str = "1 crop") -> Record:
    return Record(
        model="r2plus1d-10", pretext=pretext, task="avsa-bin", setting=setting, metric="accuracy", value=value,
        ci95=(value - 2, value + 2), n=100, seed=0, dataset="tiny", run_id="0" * 32,
    )  # fmt: skip


def clip(path: Path, sound_inside: bool) -> None:
    """A moving panorama with four channels of noise."""
    rng = np.random.default_rng(0)
    frames = round(SECONDS * FPS)
    y, x = np.mgrid[0:HEIGHT, 0 : 2 * HEIGHT] * np.pi / HEIGHT  # one wave around the panorama
    t = np.arange(frames)[:, None, None, None]
    video = np.clip(
        128 + 90 * np.sin(y)[..., None] * np.sin(x[..., None] + y[..., None] * [1, 2, 3] + 0.7 * t), 0, 255
    ).astype(np.uint8)
    mono = rng.normal(size=round(SECONDS * RATE))
    foa = 0.1 * np.stack([mono, 0.6 * mono, 0.1 * mono, 0.7 * mono]) + 0.02 * rng.normal(size=(4, len(mono)))
    write_video(path, video, FPS)
    write_audio(path.with_suffix(".m4a"), foa, RATE)
    if sound_inside:
        together = path.with_name("together.mp4")
        with av.open(str(together), "w") as out, av.open(str(path)) as v, av.open(str(path.with_suffix(".m4a"))) as a:
            streams = {s: out.add_stream_from_template(s.streams[0]) for s in (v, a)}
            packets = [(p, streams[s]) for s in (v, a) for p in s.demux() if p.dts is not None]
            for packet, stream in sorted(packets, key=lambda one: Fraction(one[0].dts or 0) * one[0].time_base):
                packet.stream = stream
                out.mux(packet)
        path.with_suffix(".m4a").unlink()
        together.replace(path)


def predict(served: Served, **columns: Any) -> Any:
    return served.model.predict(pd.DataFrame(columns))


def test_the_best_is_registered_once_with_its_card(served: Served) -> None:
    client = MlflowClient(f"sqlite:///{served.folder}/mlflow.db")
    version = client.get_model_version_by_alias("avsa", "best")
    assert int(version.version) == 2  # avsa: the mean of 80 and 70 is above that of 60 and 75
    assert version.run_id
    assert version.description
    assert "| avsa-bin | 4 crops | accuracy | 70.0 [68.0, 72.0] | 100 |" in version.description
    assert f"avsa lineage {version.run_id}" in version.description
    said = run_register(served.resolved, "avsa", 0, "avsa-bin", "avsa", "again")
    assert said == "avsa, seed 0: already models:/avsa/2, models:/avsa@again"
    assert len(client.search_model_versions("name = 'avsa'")) == 2
    assert best([record("avc", 60.0), record("avsa", 80.0)], "avsa-bin") == ("avsa", 0)


def test_weights_are_not_uploaded(served: Served) -> None:
    weights = {paths.network(name, 0).read_bytes() for name in ("avc", "avsa")}
    kept = [path for path in (served.folder / "mlartifacts").rglob("*") if path.is_file()]
    assert any(path.name == "reference.json" for path in kept)
    assert not [path for path in kept if path.read_bytes() in weights]
    assert max(path.stat().st_size for path in kept) < 20_000


def test_a_clip_by_path_and_as_bytes_gives_the_same(served: Served) -> None:
    content = base64.b64encode((served.folder / "clips/one.mp4").read_bytes()).decode()
    by_path, as_bytes = predict(served, path=["one.mp4"]), predict(served, base64=[content])
    for name in by_path.columns:
        np.testing.assert_allclose(by_path[name][0], as_bytes[name][0], rtol=1e-5)
    beside = predict(served, path=["pair.mp4"])
    np.testing.assert_allclose(beside["video"][0], by_path["video"][0], rtol=1e-4, atol=1e-4)
    assert np.abs(np.subtract(beside["audio"][0], by_path["audio"][0])).max() < 0.1
    assert len(by_path["azimuth_deg"][0]) == 3
    assert max(map(abs, by_path["elevation_deg"][0])) <= 60
    assert by_path["start_s"][0] == [0.0] * 3


def test_the_score_is_the_probability_of_the_own_viewpoint(served: Served) -> None:
    """From the features that come back, by a loop from the definition; the network translates, as its run did."""
    (row,) = predict(served, path=["one.mp4"]).to_dict("records")
    config = served.resolved.config
    network: AVSANetwork = build_network(network_spec(config.model, config.audio), 1).eval()
    video, audio = torch.tensor(row["video"]), torch.tensor(row["audio"])
    with torch.no_grad():
        from_video, from_audio = network.translate(video[None], audio[None])
        pairs = [
            (network.audio_pred_head(from_video[0]), network.audio_head(audio)),
            (network.video_pred_head(from_audio[0]), network.video_head(video)),
        ]
    probabilities = []
    for queries, keys in pairs:
        for k, query in enumerate(queries):
            likeness = [float(F.cosine_similarity(query, key, dim=0)) / 0.2 for key in keys]
            weights = np.exp(likeness)
            probabilities.append(weights[k] / weights.sum())
    assert row["score"] == pytest.approx(np.mean(probabilities), rel=1e-4)
    assert not torch.equal(video[0], video[1])


def test_wrong_input_is_one_line_and_the_callers_mistake(served: Served) -> None:
    (served.folder / "clips/text.mp4").write_text("not a video")
    (served.folder / "secret.mp4").write_bytes((served.folder / "clips/one.mp4").read_bytes())
    (served.folder / "clips/link.mp4").symlink_to(served.folder / "secret.mp4")
    text = base64.b64encode(b"no video at all").decode()
    for columns, said in [
        ({"path": ["one.mp4"], "base64": [text]}, "clip 0: give a path or base64"),
        ({"path": [""]}, "clip 0: give a path or base64"),
        ({"path": ["one.mp4", "nothing.mp4"]}, "clip 1: nothing.mp4: no such video"),
        ({"path": ["../secret.mp4"]}, "only files below the folder"),
        ({"path": ["link.mp4"]}, "only files below the folder"),
        ({"path": ["/etc/passwd"]}, "only files below the folder"),
        ({"path": ["pair.m4a"]}, "no such video"),
        ({"path": ["text.mp4"]}, "none of 1 recordings passes the checks"),
        ({"base64": ["%%%"]}, "base64: not base64"),
        ({"base64": [text]}, "none of 1 recordings passes the checks"),
        ({"path": ["one.mp4"] * (MOST_ROWS + 1)}, f"{MOST_ROWS + 1} clips: 1 to {MOST_ROWS} are answered at once"),
    ]:
        with pytest.raises(MlflowException) as refused:
            predict(served, **columns)
        assert said in refused.value.message
        assert refused.value.get_http_status_code() == 400  # type: ignore[no-untyped-call]
        assert "\n" not in refused.value.message
        assert str(served.folder) not in refused.value.message
