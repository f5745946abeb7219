"""Features of frozen networks, kept between runs and keyed by everything that they depend on.

One file per key, written whole or not at all, so that several processes may use a folder at once: two that make the
same features write the same file.
"""

from __future__ import annotations

import os
import time
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

SECONDS = "seconds"
ABANDONED_S = 3600.0
"""A temporary file that nobody has written to for so long belongs to a process that was killed."""


@dataclass(frozen=True)
class Fetched:
    """Tensors by name; whether they were kept ones; the seconds that getting them took, and those that were saved."""

    tensors: dict[str, Tensor]
    kept: bool
    seconds: float
    saved: float


class FeatureCache:
    """A folder of at most ``limit`` bytes: what has not been used for longest goes first. 0 keeps nothing."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit

    def fetch(self, key: str, make: Callable[[], dict[str, Tensor]]) -> Fetched:
        """The tensors kept under ``key``, or else those of ``make``, which are kept. Both are equal to the bit.

        A damaged file is made again, and a full disk keeps nothing; each says so in one line.
        """
        start = time.perf_counter()
        path = self.folder / f"{key}.npz"
        if self.limit and (kept := self._read(path)) is not None:
            took = float(kept.pop(SECONDS))
            seconds = time.perf_counter() - start
            return Fetched(kept, True, seconds, took - seconds)
        tensors = make()
        seconds = time.perf_counter() - start
        if sum(tensor.nbytes for tensor in tensors.values()) <= self.limit:
            self._write(path, {**tensors, SECONDS: torch.tensor(seconds)})
        return Fetched(tensors, False, seconds, 0.0)

    def _read(self, path: Path) -> dict[str, Tensor] | None:
        try:
            with np.load(path, allow_pickle=False) as arrays:  # its checksums are looked at as it is read
                tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            tensors[SECONDS]  # not there: a file of something else
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):  # never made, or removed by another process this moment
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            tqdm.write(f"{path}: damaged ({error}): made again")
            return None
        return tensors

    def _write(self, path: Path, tensors: dict[str, Tensor]) -> None:
        temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            self._prune(path)
        except OSError as error:
            tqdm.write(f"{path}: not kept: {error.strerror or error}")
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _prune(self, newest: Path) -> None:
        """Other processes may remove the same files at the same time."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.suffix == ".tmp" and time.time() - status.st_mtime > ABANDONED_S:
                    path.unlink()
                elif path.suffix == ".npz" and path != newest:
                    found.append((status.st_mtime, status.st_size, path))
        total = newest.stat().st_size + sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size
