"""Blocks of remote files, kept on the local disk for all processes of a machine: never more than a number of bytes.

A block is one file, moved into place when it is complete, so a killed process leaves none that is damaged. What has not
been used for longest goes first. One lock guards every change; reading takes none.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avsa.errors import UserError

log = logging.getLogger(__name__)

LOCK = "total"  # locked while the folder changes; holds the bytes in it: too many after a kill, never too few
INCOMING = "incoming"  # being written; replaced by the next one after a kill
FREED = 0.1  # share of the limit that is freed at once: the folder is listed that seldom


class BlockCache:
    """A folder of at most `limit` bytes, shared by processes.

    Raises:
        UserError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder.absolute(), limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                pass
        except OSError as error:
            raise UserError(f"store.cache: cannot write to {folder}: {error.strerror}") from error

    def read(self, name: str, length: int, part: slice, load: Callable[[], bytes]) -> bytes:
        """A part of the block `name`, which is `length` bytes long; `load` gets the block where it is not kept.

        A full disk keeps nothing, and a warning says so.
        """
        kept = self._kept(name, length, part)
        if kept is not None:
            return kept
        block = load()
        try:
            self._keep(name, block)
        except OSError as error:
            log.warning("%s: a block of %d bytes is not kept: %s", self.folder, length, error.strerror or error)
        return block[part]

    def _kept(self, name: str, length: int, part: slice) -> bytes | None:
        try:
            file = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(file).st_size != length:  # the machine went down before all was on the disk
                return None
            payload = os.pread(file, part.stop - part.start, part.start)
            with suppress(OSError):
                os.utime(file)
        finally:
            os.close(file)
        return payload

    def _keep(self, name: str, block: bytes) -> None:
        path = self.folder / name
        with self._locked() as lock:
            with suppress(FileNotFoundError):
                if path.stat().st_size == len(block):
                    return
            total = self._total(lock)
            if total + len(block) > self.limit:
                total = self._evict(len(block))
            os.pwrite(lock, b"%020d" % (total + len(block)), 0)
            incoming = self.folder / INCOMING
            incoming.write_bytes(block)
            os.replace(incoming, path)

    def _total(self, lock: int) -> int:
        text = os.pread(lock, 20, 0)
        return int(text) if len(text) == 20 and text.isdigit() else sum(size for _, size, _ in self._blocks())

    def _evict(self, room: int) -> int:
        """Make room for more bytes; returns how many are left."""
        blocks = sorted(self._blocks())
        total = sum(size for _, size, _ in blocks)
        for _, size, path in blocks:
            if total + room <= self.limit * (1 - FREED):
                break
            os.unlink(path)
            total -= size
        return total

    def _blocks(self) -> Iterator[tuple[int, int, str]]:
        """Last use, size and path of each."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name not in (LOCK, INCOMING):
                    status = entry.stat()
                    yield status.st_mtime_ns, status.st_size, entry.path

    @contextmanager
    def _locked(self) -> Iterator[int]:
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a killed process lets go of it
            yield lock
        finally:
            os.close(lock)
