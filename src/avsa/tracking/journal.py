"""What is recorded waits on disk until the tracking store has it: a store that is away stops nothing and loses nothing.

A folder per run: ``journal.jsonl``, an entry a line in the order of recording; ``sent``, how many bytes of it the store
has; ``late.json``, what of them it waits for while others go on; ``files``, copies of artifacts; ``owner.json``,
whose it is. A kill at any moment leaves whole entries: a last line that was cut off is as if it were never recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""``kind``, ``run`` (the id of the run that it is about) and what the kind needs."""

JOURNAL, SENT, LATE, FILES, OWNER = "journal.jsonl", "sent", "late.json", "files", "owner.json"


class Journal:
    """The entries of a run and of its nested runs; several threads may append."""

    def __init__(self, folder: Path, owner: Mapping[str, Any] | None = None) -> None:
        """Open or continue the journal of ``folder``; ``owner`` is written beside it, plain data."""
        self.folder = folder
        (folder / FILES).mkdir(parents=True, exist_ok=True)
        if owner is not None:
            (folder / OWNER).write_text(json.dumps(dict(owner)), encoding="utf-8")
        self._path = folder / JOURNAL
        self._file = self._path.open("ab")
        content = self._path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)
        self._end = self._file.tell()
        self._sent = min(int((folder / SENT).read_text() or 0), self._end) if (folder / SENT).exists() else 0
        late = json.loads((folder / LATE).read_text(encoding="utf-8")) if (folder / LATE).exists() else []
        # What was set aside, and not marked before a kill, is still to be sent in its turn.
        self.late: list[tuple[Entry, int]] = [(entry, position) for entry, position in late if position <= self._sent]
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)

    def append(self, entry: Entry) -> None:
        """Record an entry: in the hands of the operating system when this returns, on the disk after :meth:`sync`."""
        line = json.dumps(entry).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            self._end += len(line)
            self._arrived.notify_all()

    def keep(self, path: Path) -> str:
        """Copy a file into the folder, so that it may change or go before it is sent. Returns the copy's name."""
        for number in count():
            holder = self.folder / FILES / str(number)
            try:
                holder.mkdir()
            except FileExistsError:
                continue
            shutil.copyfile(path, holder / path.name)
            return f"{number}/{path.name}"
        raise AssertionError

    def file(self, name: str) -> Path:
        """Where the copy of :meth:`keep` lies."""
        return self.folder / FILES / name

    def drop(self, name: str) -> None:
        """Forget a copy that was sent."""
        shutil.rmtree((self.folder / FILES / name).parent, ignore_errors=True)

    def sync(self) -> None:
        """Return when everything is on the disk."""
        with self._lock:
            os.fsync(self._file.fileno())

    def wait(self, timeout_s: float) -> bool:
        """Wait for an entry to send that was not set aside; whether there is one."""
        with self._lock:
            return self._end > self._sent or (self._arrived.wait(timeout_s) and self._end > self._sent)

    def wake(self) -> None:
        """End a :meth:`wait` of another thread."""
        with self._lock:
            self._arrived.notify_all()

    @property
    def waiting(self) -> int:
        """Bytes that the store does not have yet; entries that were set aside count for one."""
        return self._end - self._sent + len(self.late)

    def unsent(self, most: int) -> Iterator[tuple[Entry, int]]:
        """Up to ``most`` bytes of entries that the store does not have, oldest first (one entry at least), each with
        the position to :meth:`mark` once it has."""
        position = self._sent
        with self._path.open("rb") as file:
            file.seek(position)
            content = file.read(min(self._end - position, most))
            if b"\n" not in content:
                content += file.readline()
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            position += len(line)
            yield json.loads(line), position

    def mark(self, position: int) -> None:
        """The store has everything before ``position``, but for what was set aside."""
        self._sent = position
        self._write(SENT, str(position))

    def set_aside(self, entry: Entry, position: int) -> None:
        """Let the entries behind this one pass it; the caller then marks its position."""
        self.late.append((entry, position))
        self._write(LATE, json.dumps(self.late))

    def settle_first_late(self) -> None:
        """The store has the first of those that were set aside, or never will."""
        self.late.pop(0)
        self._write(LATE, json.dumps(self.late))

    def _write(self, name: str, content: str) -> None:
        temporary = self.folder / f"{name}.tmp"
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, self.folder / name)

    def entries(self) -> Iterator[Entry]:
        """Everything that this folder saw recorded, sent or not."""
        with self._path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._file.closed

    def close(self, delete: bool) -> None:
        """Close the file; ``delete`` the folder where nothing in it is needed any more."""
        self._file.close()
        if delete:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_owner(folder: Path) -> dict[str, Any] | None:
    """Whose the journal in ``folder`` is; None where that cannot be read."""
    try:
        return dict(json.loads((folder / OWNER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
