"""Files that survive kills, damage and full disks."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avsa.engine import checkpoint
from avsa.errors import UserError

KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from pathlib import Path
from avsa.engine import checkpoint
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save({"fingerprint": "f", "value": torch.full((1000,), 9.0)}, Path(sys.argv[1]))
"""


def save(folder: Path, value: float) -> None:
    checkpoint.save({"fingerprint": "f", "run_id": f"run {value}", "value": torch.full((1000,), value)}, folder)


def value(folder: Path) -> float:
    state = checkpoint.load(folder, "f")
    assert state is not None
    return float(state["value"][-1])


def test_newest_and_the_one_before_are_kept(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "new", "f") is None
    for number in (1.0, 2.0, 3.0):
        save(tmp_path, number)
    assert value(tmp_path) == 3.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["previous.pt", "state.pt"]
    (tmp_path / "state.pt").unlink()  # as after a kill between the two renames
    assert value(tmp_path) == 2.0


def test_a_kill_while_saving_leaves_the_last_one(tmp_path: Path) -> None:
    save(tmp_path, 1.0)
    process = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "state.tmp").exists()
    assert value(tmp_path) == 1.0
    save(tmp_path, 2.0)
    assert value(tmp_path) == 2.0
    assert not (tmp_path / "state.tmp").exists()


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty", "not ours", "flipped"])
def test_a_damaged_file_is_passed_over(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1.0)
    save(tmp_path, 2.0)
    for done, path in enumerate((tmp_path / "state.pt", tmp_path / "previous.pt")):
        content = path.read_bytes()
        middle = len(content) // 2
        if damage == "not ours":
            torch.save([1, 2], path)
        else:
            path.write_bytes(
                {
                    "truncated": content[:middle],
                    "overwritten": b"x" * len(content),
                    "empty": b"",
                    "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                }[damage]
            )
        if not done:
            assert value(tmp_path) == 1.0
            assert "state.pt is damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot be read") as refused:
        checkpoint.load(tmp_path, "f")
    assert "\n" not in str(refused.value)


def test_another_fingerprint_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1.0)
    with pytest.raises(UserError, match="another configuration or other data"):
        checkpoint.load(tmp_path, "g")


class Evil:
    """Runs code where a file is unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"fingerprint": Evil()}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path, "f")
    assert "executed" not in capsys.readouterr().out


def test_a_full_disk_leaves_the_last_one(tmp_path: Path) -> None:
    save(tmp_path, 1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # the write fails as on a full disk
    try:
        with pytest.raises(UserError, match="cannot write a checkpoint") as refused:
            save(tmp_path, 2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(refused.value)
    assert value(tmp_path) == 1.0
    assert not (tmp_path / "state.tmp").exists()
