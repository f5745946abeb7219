"""Checkpoints on disk: written in one piece or not at all, read without executing anything.

A folder holds ``state.pt`` and, of the time before, ``previous.pt``. A kill at any moment leaves a readable one.
"""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from avsa.errors import UserError

NAMES = ("state.pt", "previous.pt")  # newest first
UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError, KeyError, TypeError)


def save(state: dict[str, Any], folder: Path) -> None:
    """Write the state to a temporary file, flush it to the disk, and only then let it take its name.

    Raises:
        UserError: the folder cannot be written; the checkpoints in it are as they were.
    """
    newest, previous = (folder / name for name in NAMES)
    temporary = newest.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if newest.exists():
            newest.replace(previous)
        temporary.replace(newest)
        _flush_folder(folder)
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(
            f"cannot write a checkpoint in {folder}: {reason}; make room or choose another folder, then start again"
        ) from error


def load(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The newest readable state, on the CPU; None where nothing was saved.

    A damaged newest file is passed over, with a line on stderr, for the one before it.

    Raises:
        UserError: all files are damaged, or the state belongs to another configuration or other data.
    """
    damaged = []
    for path in (folder / name for name in NAMES if (folder / name).exists()):
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # checksums, which torch.load does not look at
                    raise zipfile.BadZipFile(path)
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            found = state["fingerprint"]
        except UNREADABLE:
            damaged.append(path)
            continue
        if found != fingerprint:
            raise UserError(f"{path} was written with another configuration or other data: move {folder} away")
        for other in damaged:
            print(f"warning: {other} is damaged; continuing from the one before, {path.name}", file=sys.stderr)
        return state
    if damaged:
        raise UserError(f"{' and '.join(map(str, damaged))} cannot be read: delete {folder} to train from the start")
    return None


def _flush_folder(folder: Path) -> None:
    """A renamed file survives a power cut only when its folder is flushed too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
