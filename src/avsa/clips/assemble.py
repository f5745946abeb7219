"""Joining the recordings' tars to shards, in a fixed order, so that a kill at any moment costs no finished work.

Everything is built in a work folder. The journal there has a line per recording whose clips lie in the shards; what
stands in a shard beyond the journal is cut off on the next start. Only when all is there do the files move to the
store, the manifest last. What is kept in memory does not grow with the clips: the journal on disk is the record.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from avsa.clips.clip import Clip
from avsa.clips.convert import Index, write_atomically
from avsa.clips.ledger import LEDGER, Refusal
from avsa.clips.shard import END
from avsa.clips.store import MANIFEST

_SAVE_S = 2.0  # between journal entries on disk


class Entry(BaseModel):
    """One line of the journal: what became of the recording with this key."""

    key: str
    clips: list[Clip]
    refused: list[Refusal]
    seconds: float  # that its conversion took


@dataclass
class Tally:
    """What the recordings so far became."""

    recordings: int = 0
    duration_s: float = 0.0  # of all clips
    seconds: float = 0.0  # of all conversions
    splits: Counter[str] = field(default_factory=Counter)  # clips per split
    refused: Counter[str] = field(default_factory=Counter)  # refusals per check
    reasons: dict[str, str] = field(default_factory=dict)  # of each check, the first

    @property
    def clips(self) -> int:
        return self.splits.total()

    @property
    def speed(self) -> float:
        """Seconds of clips per second of a core."""
        return self.duration_s / self.seconds if self.seconds else 0.0

    def add(self, entry: Entry) -> None:
        self.recordings += 1
        self.seconds += entry.seconds
        self.duration_s += sum(clip.duration_s for clip in entry.clips)
        self.splits.update(clip.split for clip in entry.clips)
        self.refused.update(refusal.check for refusal in entry.refused)
        for refusal in entry.refused:
            self.reasons.setdefault(refusal.check, refusal.reason)


class Assembly:
    """The shards of the store `out`, under construction in `work`.

    `keys` is the order of the whole run; what the journal holds of it is resumed and counted in `tally`. All methods
    raise OSError where the disk does not take the bytes; the next start then continues.
    """

    def __init__(self, out: Path, work: Path, keys: list[str], shard_mb: float) -> None:
        self.out, self.work, self._shard_bytes = out, work, int(shard_mb * 1e6)
        self.tally = Tally()
        self._kept = (0, 0)  # number of the shard and offset in it at which the last recording's clips end
        self._journal = work / "journal.jsonl"
        self._take_back()
        self._resume(keys)
        self._unsaved: list[tuple[bytes, Path, Path]] = []
        self._saved_at = time.monotonic()
        self._number, end = self._kept
        for stale in work.glob("shard-*.tar"):
            if stale.name > self._name():
                stale.unlink()
        self._file = self._shard(self._number).open("r+b" if end else "w+b", buffering=0)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, key: str, tar: Path, index: Path) -> Entry:
        """Append the clips of the next recording; its files are deleted once the journal holds it."""
        result = Index.model_validate_json(index.read_bytes())
        clips = []
        with tar.open("rb") as source:
            for piece in result.pieces:
                length = piece.end - piece.start
                if self._file.tell() and self._file.tell() + length + len(END) > self._shard_bytes:
                    self._seal()
                    self._number += 1
                    self._file = self._shard(self._number).open("w+b", buffering=0)
                shift = self._file.tell() - piece.start
                source.seek(piece.start)
                self._write(source.read(length))
                members = {name: (offset + shift, size) for name, (offset, size) in piece.clip.members.items()}
                clips.append(piece.clip.model_copy(update={"shard": self._name(), "members": members}))
        entry = Entry(key=key, clips=clips, refused=result.refused, seconds=result.seconds)
        self._kept = (self._number, self._file.tell())
        self.tally.add(entry)
        self._unsaved.append((_line(entry), tar, index))
        if time.monotonic() - self._saved_at > _SAVE_S:
            self.save()
        return entry

    def save(self) -> None:
        """Bring shard and journal to the disk, then drop what they now hold."""
        _sync(self._file)
        with self._journal.open("ab") as journal:
            journal.writelines(line for line, _, _ in self._unsaved)
            _sync(journal)
        for _, tar, index in self._unsaved:
            index.unlink(missing_ok=True)
            tar.unlink(missing_ok=True)
        self._unsaved = []
        self._saved_at = time.monotonic()

    def finish(self, beside: dict[str, bytes]) -> None:
        """Move shards, ledger and at last the manifest to the store, in place of what was there.

        `beside` are further files of the store; those without content are removed.
        """
        self.save()
        self._seal()
        out = self.out
        out.mkdir(parents=True, exist_ok=True)
        _write_lines(self.work / LEDGER, (refusal for entry in self._entries() for refusal in entry.refused))
        _write_lines(self.work / MANIFEST, (clip for entry in self._entries() for clip in entry.clips))
        (out / MANIFEST).unlink(missing_ok=True)  # from here to the end there is no store
        for stale in out.glob("shard-*.tar"):
            stale.unlink()
        for number in range(self._number + 1 if self.tally.clips else 0):
            os.replace(self._shard(number), out / self._shard(number).name)
        os.replace(self.work / LEDGER, out / LEDGER)
        for name, content in beside.items():
            if content:
                write_atomically(out / name, content)
            else:
                (out / name).unlink(missing_ok=True)
        if self.tally.clips:
            _sync_folder(out)  # no power cut leaves a manifest without its shards
            os.replace(self.work / MANIFEST, out / MANIFEST)
            _sync_folder(out)
        shutil.rmtree(self.work, ignore_errors=True)

    def close(self) -> None:
        """Let go of the files; without `finish`, save what is there as far as the disk takes it."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                number, end = self._kept
                self._file.truncate(end if number == self._number else 0)
                self.save()
            self._file.close()

    def _take_back(self) -> None:
        """Undo the moves of a run that was killed among them: it had removed older shards before its first move."""
        if (self.work / MANIFEST).exists() and not (self.out / MANIFEST).exists():
            for moved in self.out.glob("shard-*.tar"):
                if not (self.work / moved.name).exists():
                    os.replace(moved, self.work / moved.name)
            (self.work / MANIFEST).unlink()

    def _resume(self, keys: list[str]) -> None:
        """Count what the journal holds of this run, and cut off the rest: other files or settings, half a line."""
        valid, sizes = 0, {shard.name: shard.stat().st_size for shard in self.work.glob("shard-*.tar")}
        with contextlib.suppress(FileNotFoundError), self._journal.open("r+b") as journal:
            for key, line in zip(keys, journal, strict=False):
                try:
                    entry = Entry.model_validate_json(line)
                except ValidationError:  # the last line of a killed run
                    break
                held = all(sizes.get(clip.shard, 0) >= _end(clip) for clip in entry.clips)
                if entry.key != key or not held or not line.endswith(b"\n"):
                    break
                valid += len(line)
                self.tally.add(entry)
                if entry.clips:
                    self._kept = (int(entry.clips[-1].shard[-9:-4]), _end(entry.clips[-1]))
            journal.truncate(valid)

    def _entries(self) -> Iterator[Entry]:
        with self._journal.open("rb") as journal:
            for line in journal:
                yield Entry.model_validate_json(line)

    def _shard(self, number: int) -> Path:
        return self.work / f"shard-{number:05d}.tar"

    def _name(self) -> str:
        return self._shard(self._number).name

    def _write(self, payload: bytes) -> None:
        while payload:  # a file without a buffer may take a part
            payload = payload[self._file.write(payload) :]

    def _seal(self) -> None:
        self._write(END)
        _sync(self._file)
        self._file.close()


def _end(clip: Clip) -> int:
    """Where the clip's last member ends in its shard, padding included."""
    end = max(offset + length for offset, length in clip.members.values())
    return end + -end % 512


def _line(model: BaseModel) -> bytes:
    return model.model_dump_json().encode() + b"\n"


def _write_lines(path: Path, models: Iterable[BaseModel]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.writelines(_line(model) for model in models)
        _sync(file)
    partial.replace(path)


def _sync(file: BinaryIO | FileIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
