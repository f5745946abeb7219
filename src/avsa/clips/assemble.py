"""Joining the recordings' tars to shards, in a fixed order, so that a kill at any moment costs no finished work.

Everything is built in a work folder. The journal there has a line per recording whose clips lie in the shards; what
stands in a shard beyond the journal is cut off on the next start. Only when all is there do the files move to the
store, the manifest last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from avsa.clips.convert import Index, write_atomically
from avsa.clips.ledger import LEDGER, Refusal
from avsa.clips.shard import END
from avsa.clips.store import MANIFEST, Clip

_SAVE_S = 2.0  # between journal entries on disk


class Entry(BaseModel):
    """One line of the journal: what became of the recording with this key."""

    key: str
    clips: list[Clip]
    refused: list[Refusal]


class Assembly:
    """The shards of the store `out`, under construction in `work`.

    `keys` is the order of the whole run; what the journal holds of it is resumed. All methods raise OSError where the
    disk does not take the bytes; the next start then continues.
    """

    def __init__(self, out: Path, work: Path, keys: list[str], shard_mb: float) -> None:
        self.out, self.work, self._keys, self._shard_bytes = out, work, keys, int(shard_mb * 1e6)
        self._journal = work / "journal.jsonl"
        self._take_back()
        self.entries = self._resume()
        write_atomically(self._journal, _lines(self.entries))
        self._unsaved: list[tuple[Entry, Path, Path]] = []
        self._saved_at = time.monotonic()
        clips = [clip for entry in self.entries for clip in entry.clips]
        shards = sorted({clip.shard for clip in clips})
        self._number = max(0, len(shards) - 1)
        for stale in work.glob("shard-*.tar"):
            if stale.name not in shards:
                stale.unlink()
        self._file = self._shard(self._number).open("r+b" if clips else "w+b", buffering=0)
        self._file.truncate(_end(clips[-1]) if clips else 0)
        self._file.seek(0, os.SEEK_END)

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
        entry = Entry(key=key, clips=clips, refused=result.refused)
        self.entries.append(entry)
        self._unsaved.append((entry, tar, index))
        if time.monotonic() - self._saved_at > _SAVE_S:
            self.save()
        return entry

    def save(self) -> None:
        """Bring shard and journal to the disk, then drop what they now hold."""
        _sync(self._file)
        with self._journal.open("ab") as journal:
            journal.write(_lines([entry for entry, _, _ in self._unsaved]))
            _sync(journal)
        for _, tar, index in self._unsaved:
            index.unlink(missing_ok=True)
            tar.unlink(missing_ok=True)
        self._unsaved = []
        self._saved_at = time.monotonic()

    def finish(self, classes: Path) -> None:
        """Move shards, ledger and at last the manifest to the store, in place of what was there."""
        self.save()
        self._seal()
        clips = [clip for entry in self.entries for clip in entry.clips]
        refused = [refusal for entry in self.entries for refusal in entry.refused]
        shards = {clip.shard for clip in clips}
        out = self.out
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(self.work / LEDGER, _lines(refused))
        write_atomically(self.work / MANIFEST, _lines(clips))
        (out / MANIFEST).unlink(missing_ok=True)  # from here to the end there is no store
        for stale in out.glob("shard-*.tar"):
            stale.unlink()
        for shard in sorted(shards):
            os.replace(self.work / shard, out / shard)
        os.replace(self.work / LEDGER, out / LEDGER)
        if classes.is_file():
            write_atomically(out / classes.name, classes.read_bytes())
        else:
            (out / classes.name).unlink(missing_ok=True)
        if clips:
            os.replace(self.work / MANIFEST, out / MANIFEST)
        shutil.rmtree(self.work, ignore_errors=True)

    def close(self) -> None:
        """Let go of the files; without `finish`, save what is there as far as the disk takes it."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                clips = [clip for entry in self.entries for clip in entry.clips]
                self._file.truncate(_end(clips[-1]) if clips and clips[-1].shard == self._name() else 0)
                self.save()
            self._file.close()

    def _take_back(self) -> None:
        """Undo the moves of a run that was killed among them: it had removed older shards before its first move."""
        if (self.work / MANIFEST).exists() and not (self.out / MANIFEST).exists():
            for moved in self.out.glob("shard-*.tar"):
                if not (self.work / moved.name).exists():
                    os.replace(moved, self.work / moved.name)
            (self.work / MANIFEST).unlink()

    def _resume(self) -> list[Entry]:
        try:
            lines = self._journal.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        entries: list[Entry] = []
        for key, line in zip(self._keys, lines, strict=False):
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError:  # the last line of a killed run
                break
            if entry.key != key or not all(self._holds(clip) for clip in entry.clips):
                break
            entries.append(entry)
        return entries

    def _holds(self, clip: Clip) -> bool:
        shard = self.work / clip.shard
        return shard.is_file() and shard.stat().st_size >= _end(clip)

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


def _lines(models: list[Entry] | list[Clip] | list[Refusal]) -> bytes:
    return b"".join(model.model_dump_json().encode() + b"\n" for model in models)


def _sync(file: BinaryIO | FileIO) -> None:
    file.flush()
    os.fsync(file.fileno())
