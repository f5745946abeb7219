"""Containers as the doctor finds them: an engine that fails in each way, played by a program called docker; and the
real one, where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tracking_server import Served

from avsa.config import Config
from avsa.doctor import container as container_module
from avsa.doctor.check import OK, PROBLEM, WARNING, Finding
from avsa.doctor.container import container, image_of, options
from avsa.doctor.inside import Seen, verdicts
from avsa.errors import UserError
from avsa.resolve import resolve

pytest_plugins = ["postgresql_server", "tracking_server"]
STUB = """#!/bin/sh
echo "$@" | head -n 1 >> {folder}/calls
case "$MODE-$1" in
  down-*) echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?" >&2; exit 1;;
  denied-*) echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1;;
  hangs-*|stuck-run) exec sleep 30;;
  *-info|*-rm) exit 0;;
  missing-image) echo "Error: No such image: $3" >&2; exit 1;;
  *-image) echo '{{"org.opencontainers.image.revision": "'$REVISION'"}}';;
  nodriver-run) echo 'docker: Error response from daemon: could not select device driver "" for gpu' >&2
    echo "See docker run --help" >&2; exit 125;;
  nopython-run) echo 'Error: exec: "python": executable file not found in $PATH' >&2; exit 127;;
  *-run) while [ "$1" != -c ]; do shift; done; exec {python} -S "$@";;
esac
"""
SEEN = Seen(shared=1 << 36, torch="2.11", gpus=[], status=200, body="", error="")


@pytest.fixture
def config() -> Config:
    return resolve(overrides=["engine.device=auto"]).config


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the program, and with a PyTorch that any Python finds; `calls` is what it was called with."""
    (tmp_path / "torch.py").write_text(
        "__version__ = '2.11'\nclass cuda:\n    device_count = staticmethod(lambda: 0)\n", encoding="utf-8"
    )
    stub = tmp_path / "docker"
    stub.write_text(STUB.format(folder=tmp_path, python=sys.executable), encoding="utf-8")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MODE", "fine")
    monkeypatch.setenv("REVISION", "")
    monkeypatch.setattr(container_module, "ASK_S", 5.0)
    return tmp_path


def found(config: Config, uri: str, arguments: Sequence[str] = ()) -> list[Finding]:
    return list(container("an-image", arguments, uri, config))


@pytest.mark.parametrize(
    ("mode", "text", "mend"),
    [
        ("down", "the container engine does not answer: Cannot connect", "systemctl start docker"),
        ("denied", "the container engine does not answer: permission denied", "sudo usermod -aG docker"),
        ("missing", "the image an-image is not here: Error: No such image", "make image, or docker pull an-image"),
        ("nodriver", "does not start: docker: Error response", "install the NVIDIA container toolkit"),
        ("nopython", "does not start: Error: exec:", "the image needs Python"),
    ],
)
def test_an_engine_that_fails(
    engine: Path, config: Config, monkeypatch: pytest.MonkeyPatch, mode: str, text: str, mend: str
) -> None:
    monkeypatch.setenv("MODE", mode)
    last = found(config, "http://localhost:1")[-1]
    assert last.level == PROBLEM
    assert text in last.text
    assert last.mend.startswith(mend)


def test_an_engine_that_hangs(engine: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_module, "ASK_S", 0.3)
    monkeypatch.setattr(container_module, "RUN_S", 0.3)
    monkeypatch.setenv("MODE", "hangs")
    (hangs,) = found(config, "http://localhost:1")
    assert (hangs.level, "gives no answer within" in hangs.text) == (PROBLEM, True)
    monkeypatch.setattr(container_module, "ASK_S", 5.0)
    monkeypatch.setenv("MODE", "stuck")
    stuck = found(config, "http://localhost:1")[-1]
    assert (stuck.level, "gives no answer within" in stuck.text) == (PROBLEM, True)
    assert (engine / "calls").read_text().splitlines()[-1].startswith("rm -f avsa-doctor-")


def test_no_engine_and_no_server(engine: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, local = found(config, "sqlite:////project/mlflow.db")
    assert ready.text == "the engine answers, the image an-image is here"
    assert (local.level, local.mend.startswith("mlflow server")) == (PROBLEM, True)
    monkeypatch.setenv("REVISION", "0123456789")
    older, _ = found(config, "sqlite:////project/mlflow.db")
    assert (older.level, "holds commit 0123456" in older.text) == (WARNING, True)
    monkeypatch.setenv("PATH", str(engine / "nowhere"))
    (none,) = found(config, "http://localhost:1")
    assert (none.level, none.text) == (PROBLEM, "docker is not installed")


@pytest.mark.timeout(900)
def test_the_tracking_server_as_a_container_sees_it(engine: Path, config: Config, served: Served) -> None:
    """The real program, in another process, and a real server."""
    torch, memory, tracking = found(config, served.uri, ["net=host", "gpus=all", "t"])[1:]
    assert (torch.level, memory.level, tracking.level) == (OK, OK, OK)
    assert tracking.text == f"{served.uri} answers, from within"
    refused = found(config, served.refused_uri)[-1]
    assert (refused.level, "refuses the name 127.0.0.1:" in refused.text) == (PROBLEM, True)
    away = found(config, "http://me:secret@localhost:1")[-1]
    assert away.text == "http://***@localhost:1: nobody listens there, from within"
    assert away.mend.startswith("localhost is the container itself: -A net=host")
    calls = (engine / "calls").read_text()
    assert "--net host --gpus all -t -e MLFLOW_TRACKING_URI" in calls
    assert "secret" not in calls


def test_what_is_seen_from_within(config: Config) -> None:
    def seen(uri: str = "http://tracking:5000", gpu: bool = False, **changes: object) -> list[Finding]:
        return list(verdicts(Seen(**{**vars(SEEN), **changes}), uri, config, gpu))

    assert [line.level for line in seen()] == [OK, OK, OK]
    assert seen(torch=None)[0].level == PROBLEM
    assert seen(gpu=True)[0].level == WARNING
    assert seen(gpu=True, gpus=["H200"])[0].text == "PyTorch 2.11 sees H200 from within"
    memory = seen(shared=64 << 20)[1]  # what Docker gives
    assert (memory.level, memory.mend.startswith("-A shm-size=")) == (PROBLEM, True)
    assert len(seen(shared=None)) == 2
    away = seen(status=0, error="[Errno -2] Name or service not known")[-1]
    assert (away.level, away.text) == (PROBLEM, "http://tracking:5000: no such host, from within")
    assert seen(status=401)[-1].level == PROBLEM


def test_an_image_by_the_folder_of_its_project(tmp_path: Path) -> None:
    assert image_of("registry.example/avsa:1") == "registry.example/avsa:1"
    (tmp_path / "MLproject").write_text("name: x\ndocker_env: {image: avsa}\n")
    assert image_of(str(tmp_path)) == "avsa"
    (tmp_path / "MLproject").write_text("name: x\npython_env: p.yaml\n")
    with pytest.raises(UserError, match="names no image"):
        image_of(str(tmp_path))
    assert options(["gpus=all", "v=/a:/b", "t", "init"]) == ["--gpus", "all", "-v", "/a:/b", "-t", "--init"]


@pytest.mark.timeout(900)
def test_the_real_engine(config: Config, served: Served) -> None:
    """Any image with Python will do: PyTorch is not in it, and the doctor says so."""
    image = os.environ.get("AVSA_TEST_IMAGE", "python:3.11-slim")
    there = (
        shutil.which("docker")
        and subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0
    )
    if not there:
        pytest.skip(f"no container engine that answers, or no image {image} (AVSA_TEST_IMAGE)")
    lines = list(container(image, ["net=host", "shm-size=64m"], served.uri, config))
    assert lines[0].level in (OK, WARNING)
    assert lines[-1].text == f"{served.uri} answers, from within"
    if json.loads(os.environ.get("AVSA_TEST_IMAGE_HAS_PYTORCH", "false")):
        assert lines[1].text.startswith("PyTorch")
    else:
        assert lines[1].text == "the image has no PyTorch that can be imported"
    missing = list(container("no-such-image-here", [], served.uri, config))
    assert (len(missing), missing[0].level) == (1, PROBLEM)
