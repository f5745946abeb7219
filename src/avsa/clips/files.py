"""The files of a clip store, wherever they lie: any part of any file, by several processes and threads at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from avsa.clips.address import Address
from avsa.config import Store

OPEN = 64  # shards are kept open
CHUNK = 1 << 18  # bytes; what a larger one leaves in the heap counts in every worker


class Files(Protocol):
    """A store's folder. Copies for other processes (pickled or forked) read the same bytes."""

    @property
    def root(self) -> Path | Address:
        """Where it is."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file from an offset on, fewer where it ends.

        Raises:
            OSError: no such file (FileNotFoundError), or it cannot be read now.
            UserError: the place does not answer, or refuses; what to do is in the message.
        """

    def close(self) -> None:
        """Let go of what is open; the next read opens it again."""


def open_files(root: Path | str, settings: Store) -> Files:
    """A folder, or an address with ``://`` through the cache of the settings.

    Raises:
        UserError: the cache's folder cannot be made.
    """
    if "://" not in str(root):
        return LocalFiles(Path(root))
    from avsa.clips.blocks import BlockCache
    from avsa.clips.remote import RemoteFiles

    return RemoteFiles(str(root), BlockCache(Path(settings.cache), int(settings.cache_gb * 1e9)))


def read_lines(files: Files, name: str) -> Iterator[bytes]:
    """The lines of a file with their ends; raises as `Files.read`."""
    read, rest = 0, b""
    while chunk := files.read(name, read, CHUNK):
        read += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


class LocalFiles:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open = lru_cache(OPEN)(lambda name: _Descriptor(root / name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `Files.read`."""
        file = self._open(name)  # stays open while it is named here, even if another thread's shards push it out
        return os.pread(file.number, length, offset)

    def close(self) -> None:
        """As `Files.close`."""
        self._open.cache_clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalFiles, (self.root,)


class _Descriptor:
    """An open file, closed when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)
