"""What each check says of a machine and project in order, and in each kind of disorder."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avsa.doctor import gpu as gpu_module
from avsa.doctor import space
from avsa.doctor import versions as versions_module
from avsa.doctor.check import OK, PROBLEM, WARNING, Check, Finding, examine, reason
from avsa.doctor.code import code
from avsa.doctor.credentials import credentials, in_a_container
from avsa.doctor.gpu import gpu
from avsa.doctor.versions import locked, versions
from avsa.resolve import resolve

GIB = 1 << 30


def levels(found: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in found]


def test_a_check_that_hangs_or_breaks_does_not_stop_the_others() -> None:
    release = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding(OK, "the first line")
        release.wait(60)

    def breaks() -> Iterator[Finding]:
        raise RuntimeError("no such\n thing")
        yield

    began = time.monotonic()
    checks = [
        Check("a", hangs, timeout_s=0.2),
        Check("b", breaks, ("json",)),
        Check("c", lambda: [Finding(WARNING, "late", "mend")]),
    ]
    found = list(examine(checks))
    release.set()
    assert time.monotonic() - began < 30
    assert [(subject, finding.level) for subject, finding in found] == [
        ("a", OK),
        ("a", PROBLEM),
        ("b", PROBLEM),
        ("c", WARNING),
    ]
    assert found[1][1].text == "no answer within 0 s"
    assert found[2][1].text == "cannot be looked at: RuntimeError: no such thing"
    assert len(reason("x" * 500)) == 160


def test_installed_packages_against_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    numpy, torch_ = metadata.version("numpy"), metadata.version("torch")
    lock.write_text(
        f"numpy=={numpy} \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n# a comment\n"
        f"torch=={torch_.partition('+')[0]}\nnot-there==1.0 ; sys_platform == 'win32'\nnever.installed==1.0\n"
    )
    assert locked(lock) == {"numpy": numpy, "torch": torch_.partition("+")[0], "never-installed": "1.0"}
    python, packages, codecs = versions(lock)
    assert (python.level, packages.level, codecs.level) == (OK, OK, OK)
    assert packages.text == "2 packages as in requirements.lock"  # what tests alone need may be left out
    lock.write_text("numpy==0.1\n")
    packages = list(versions(lock))[1]
    assert packages.level == WARNING
    assert packages.text == f"1 of 1 packages are not requirements.lock's: numpy {numpy}, not 0.1"
    lock.unlink()
    assert list(versions(lock))[1].level == WARNING

    really = metadata.version

    def without_av(name: str) -> str:
        if name == "av":
            raise metadata.PackageNotFoundError(name)
        return really(name)

    lock.write_text(f"numpy=={numpy}\n")
    monkeypatch.setattr(metadata, "version", without_av)
    packages = list(versions(lock))[1]
    assert (packages.level, packages.text) == (PROBLEM, "not installed: av")
    monkeypatch.setattr(versions_module, "ENCODERS", ("libx264", "no-such-codec"))
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    python, _, codecs = versions(lock)
    assert (python.level, codecs.level) == (PROBLEM, PROBLEM)
    assert codecs.text.endswith("has no codec no-such-codec")


def test_batches_in_shared_memory_are_as_large_as_they_are() -> None:
    """Against tensors of the shapes that the loader hands over."""
    config = resolve(
        overrides=[
            "engine.workers=3",
            "pretrain.runs.avts=[{objective: avts, epochs: 1, batch: 5, crops: 1, moments: 2}]",
            "pretrain.runs.avsa=[{objective: avsa, epochs: 1, batch: 7}]",
            "pretrain.runs.avc=[{objective: avc, epochs: 1, batch: 7, crops: 1}]",
            "pretrain.runs.avc-long=avc",
        ]
    ).config
    rows, frames, height = 10, config.views.frames, config.clips.height
    luma = torch.empty(rows, frames, height, 2 * height, dtype=torch.uint8)
    chroma = torch.empty(rows, frames, 2, height // 2, height, dtype=torch.uint8)
    sound = torch.empty(rows, 4, int(config.views.audio_s * config.clips.sample_rate))
    assert space.batches_in_flight(config) == 7 * (luma.nbytes + chroma.nbytes + sound.nbytes)
    needed = space.batches_in_flight(config)
    assert space.judge_shared(needed, config, "").level == OK
    short = space.judge_shared(needed - 1, config, "--shm-size SIZE")
    assert short.level == PROBLEM
    assert short.mend == "--shm-size 1g, or fewer engine.workers"
    assert space.batches_in_flight(resolve(overrides=["engine.workers=0"]).config) == 0


def test_disks_that_fill_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [Path("runs"), Path("data/deep")]
    for free, level in ((50 * GIB, OK), (5 * GIB, WARNING), (GIB, PROBLEM)):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
            (found,) = space.disks(folders)
        assert found.level == level
        assert found.text == f"{free / GIB:.1f} GiB free for runs/, data/deep/"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = space.disks(folders)
    assert (found.level, found.text) == (PROBLEM, "runs, data/deep/ cannot be written to")


def test_code_that_git_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVSA_COMMIT", raising=False)
    (found,) = code(tmp_path)
    assert found.level == WARNING
    assert "is in no git repository" in found.text
    (tmp_path / "a.txt").write_text("a")
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for arguments in (["init", "-q"], ["add", "a.txt"], [*who, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    (found,) = code(tmp_path)
    assert found.level == OK
    (tmp_path / "a.txt").write_text("b")
    (found,) = code(tmp_path)
    assert found.level == WARNING
    assert found.text.endswith("what runs is in no history")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert levels(code(tmp_path)) == [WARNING]


def test_a_gpu_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = resolve().config.engine
    driver = tmp_path / "version"
    monkeypatch.setattr(gpu_module, "DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert levels(gpu(engine)) == [OK]
    assert levels(gpu(engine.model_copy(update={"device": "cuda"}))) == [PROBLEM]
    assert levels(gpu(engine.model_copy(update={"device": "cpu"}))) == [OK]
    driver.write_text("NVRM version: ...")
    (found,) = gpu(engine)
    assert found.level == PROBLEM
    assert "PyTorch" in found.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    (found,) = gpu(engine)
    assert found.level == OK
    assert found.text.startswith("GPU 0, GPU 1, CUDA")


def test_credentials_are_named_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_TRACKING_")) or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert levels(credentials("")) == [OK]
    (found,) = credentials("s3://bucket/clips")
    assert (found.level, found.text) == (PROBLEM, "AWS: none, but store.address is on S3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-visible")
    assert [line.text for line in credentials("")] == ["AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "as-secret")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    found_now = list(credentials("s3://bucket/clips"))
    assert levels(found_now) == [PROBLEM, PROBLEM, OK]
    assert found_now[0].mend == "set both, or neither: unset MLFLOW_TRACKING_PASSWORD"
    assert found_now[2].text == "AWS: from env"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    (tmp_path / "ca.pem").touch()
    assert levels(credentials("")) == [OK]
    monkeypatch.setenv("AWS_PROFILE", "not-there")
    assert levels(credentials("")) == [PROBLEM]
    direct = list(in_a_container("s3://bucket/1", os.environ))
    assert direct[0].text.startswith("mlflow run writes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into its log")
    assert "AWS_CA_BUNDLE, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD" in direct[1].text
    (proxied,) = in_a_container("mlflow-artifacts:/1", os.environ)
    assert proxied.text == "mlflow run does not pass on MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD"
    said = " ".join(f"{line.text} {line.mend}" for line in [*found_now, *direct, proxied])
    assert not any(secret in said for secret in ("AKIA-visible", "very-secret", "as-secret"))
