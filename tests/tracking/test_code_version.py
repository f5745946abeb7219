"""Which code a run ran: what git calls clean, and what it does not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from avsa.tracking.environment import code_version

FILES = {"params.yaml": "a: 1\n", "dvc.lock": "", "configs/own.yaml": "", ".gitignore": "/runs/\n/mlflow.db*\n"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clean checkout."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("params.yaml", True),
        ("configs/new.yaml", True),  # what a run of this configuration was, no history says
        ("src/avsa/new.py", True),
        ("runs/spool/0/journal.jsonl", False),  # ignored
        ("mlflow.db-wal", False),
        ("dvc.lock", False),  # what the pipeline writes
        ("reports/results.json", False),
    ],
)
def test_what_makes_a_checkout_dirty(project: Path, path: str, dirty: bool) -> None:
    folder = project / "configs"  # asked from below, too
    assert code_version(project)["git.dirty"] == code_version(folder)["git.dirty"] == "False"
    subprocess.run(["git", "config", "status.showUntrackedFiles", "no"], cwd=project, check=True)  # a user's taste
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text("b: 2\n")
    assert code_version(project)["git.dirty"] == code_version(folder)["git.dirty"] == str(dirty)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True).stdout
    assert code_version(project)["git.commit"] == head.strip()


def test_an_image_knows_its_checkout(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make image` says to the build is what the image says of itself where there is no repository."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    (value,) = re.findall(r"--build-arg COMMIT=(.*) \\\n", makefile)
    commands = ["sh", "-c", f"echo {value.replace('$$', '$')}"]
    elsewhere = tmp_path.parent / f"{tmp_path.name}-image"
    elsewhere.mkdir()
    for new in (None, "src.py"):
        if new:
            (project / new).touch()
        said = subprocess.run(commands, cwd=project, check=True, capture_output=True, text=True).stdout.strip()
        monkeypatch.setenv("AVSA_COMMIT", said)
        assert code_version(elsewhere) == code_version(project)
        assert code_version(project)["git.dirty"] == str(bool(new))


def test_a_file_that_was_removed(project: Path) -> None:
    (project / "configs/own.yaml").unlink()
    assert code_version(project)["git.dirty"] == "True"
