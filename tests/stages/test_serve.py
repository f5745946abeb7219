"""A registered model through MLflow: clips in by path and as bytes, features and a score out, wrong input refused."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import av
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from command_line import avsa
from mlflow import MlflowClient
from mlflow.cli import cli
from mlflow.exceptions import MlflowException
from torch.nn import functional as F
from tracking_server import wait_for

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

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
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
        zeros = np.zeros((7, 16), np.float32)
        Statistics(zeros - 3, zeros + 2, feature_settings(config.views, config.audio, RATE)).save(
            paths.statistics(config)
        )
        for drawn, name in enumerate(("avc", "avsa")):
            train(resolved, name, 0, drawn)
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
        with redirect_stderr(StringIO()) as said:
            run_register(resolved, None, 0, "avsa-bin", "avsa", "best")
        assert "already exists" not in said.getvalue()  # MLflow's word for a second version
        assert "Created version" not in said.getvalue()
        yield Served(folder, resolved, mlflow.pyfunc.load_model("models:/avsa@best"))


def train(resolved: Resolved, name: str, seed: int, drawn: int) -> None:
    """A run that leaves a network of this drawing."""
    with stage_run(resolved, "pretrain", f"{name}-{seed}") as run:
        run.log({"train/loss": 1.0 + drawn}, step=7)
        network = build_network(network_spec(resolved.config.model, resolved.config.audio), drawn)
        save_network(paths.network(name, seed), network, {"run": name, "seed": seed})
        write_run_file(paths.checkpoint(name, seed) / RUN_FILE, run)
        run.checkpoint(f"{name}-{seed}", paths.network(name, seed), {"seed": seed})


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


@pytest.mark.timeout(1200)  # a server starts, on however busy a machine
def test_each_command_of_the_page(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a project that has what they name; the server answers curl with what the model in this process says."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    register, serve, curl, predict_file = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    train(served.resolved, "avsa", 1, 2)
    chosen = served.resolved.config.model_dump(mode="json", exclude={"base"})
    (served.folder / "params.yaml").write_text(yaml.safe_dump(chosen))
    for program, *words in (shlex.split(line, comments=True) for line in register.splitlines()):
        assert program == "avsa"
        assert avsa(served.folder, *words) == 0
    client = MlflowClient(f"sqlite:///{served.folder}/mlflow.db")
    aliases = {alias: str(version) for alias, version in client.get_registered_model("avsa").aliases.items()}
    assert (aliases["best"], aliases["candidate"]) == ("2", "3")

    clips = served.folder / "data/raw/synth360"
    (clips / "test").mkdir(parents=True)
    shutil.copy(served.folder / "clips/one.mp4", clips / "test/test-00000.mp4")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "--port 5001" in serve
    assert ":5001/" in curl
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]}
    bash: dict[str, Any] = {"cwd": served.folder, "env": {**environment, "MLFLOW_MODELS_WORKERS": "1"}}
    server = subprocess.Popen(["bash", "-ec", serve.replace("5001", str(port))], start_new_session=True, **bash)

    def answers() -> bool:
        assert server.poll() is None
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
            return True
        return False

    try:
        wait_for(answers, 900)
        asked = curl.replace(":5001/", f":{port}/")
        answer = subprocess.run(["bash", "-ec", asked], capture_output=True, text=True, check=True, **bash).stdout
        wrong = asked.replace("test-00000", "nothing")
        refused = subprocess.run(["bash", "-ec", wrong], capture_output=True, text=True, check=True, **bash).stdout
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert json.loads(refused)["message"].endswith("clip 0: test/nothing.mp4: no such video")
    (found,) = json.loads(answer)["predictions"]
    (expected,) = predict(served, path=["one.mp4"]).to_dict("records")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)

    monkeypatch.chdir(served.folder)
    monkeypatch.setenv("AVSA_CLIPS", str(clips))
    (served.folder / "clips.json").write_text(re.findall(r"-d '(.*?)'", curl, re.DOTALL)[0])
    program, *words = shlex.split(predict_file)
    assert program == "mlflow"
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    (again,) = json.loads((served.folder / "answer.json").read_text())["predictions"]
    assert again["score"] == pytest.approx(found["score"], rel=1e-5)
