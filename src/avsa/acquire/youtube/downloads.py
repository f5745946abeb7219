"""The ledger ``downloads.jsonl``: what became of each id. A line is a record, and an id's last one counts."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from avsa.acquire.youtube.states import SETTINGS, State
from avsa.clips.convert import write_atomically
from avsa.config import Download
from avsa.errors import UserError

NAME = "downloads.jsonl"


class File(BaseModel):
    """One file of a video."""

    model_config = ConfigDict(frozen=True)

    path: str  # below the raw folder
    format: str  # yt-dlp's format_id
    client: str  # YouTube's application that it was offered to; "" for a mirror
    bytes: int
    sha256: str


class Record(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True)

    id: str
    split: str
    state: State
    time: str  # UTC, ISO 8601
    error: str = ""
    settings: str = ""  # hash of those that the state depends on
    files: list[File] = []
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    projection: str | None = None  # as the source says
    channel_order: str | None = None


def now() -> str:
    """The time of a record."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def settings_of(state: State, config: Download) -> str:
    """A hash of the settings that a final state depends on; "" for other states."""
    if state not in SETTINGS:
        return ""
    values = {name: getattr(config, name) for name in SETTINGS[state]}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Downloads:
    """The ledger of a raw folder, read and appended to.

    Raises:
        UserError: a line other than a torn last one is no record.
    """

    def __init__(self, raw: Path) -> None:
        self.path, self.records = raw / NAME, _read(raw / NAME)

    def add(self, record: Record) -> None:
        """Append a record; it is on the disk when this returns."""
        self.records[record.id] = record
        with self.path.open("ab", buffering=0) as file:
            file.write(record.model_dump_json(exclude_defaults=True).encode() + b"\n")
            os.fsync(file.fileno())

    def compact(self) -> None:
        """Leave one line per id; a line that a kill has torn goes."""
        lines = [record.model_dump_json(exclude_defaults=True) for record in self.records.values()]
        text = "".join(f"{line}\n" for line in lines)
        if not self.path.exists() or self.path.read_text(encoding="utf-8") != text:
            write_atomically(self.path, text.encode())

    def final(self, name: str, config: Download) -> bool:
        """Whether there is no point in trying an id again: it is here, or never will be with these settings."""
        record = self.records.get(name)
        if record is None:
            return False
        if record.state == "ok":
            return here(record, self.path.parent)
        return record.state in SETTINGS and record.settings == settings_of(record.state, config)


def here(record: Record, raw: Path) -> bool:
    """Whether a record's files are in the raw folder, as large as they were."""
    try:
        return bool(record.files) and all((raw / file.path).stat().st_size == file.bytes for file in record.files)
    except OSError:
        return False


def _read(path: Path) -> dict[str, Record]:
    records: dict[str, Record] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return records
    for number, line in enumerate(lines, 1):
        try:
            record = Record.model_validate_json(line) if line else None
        except ValidationError:
            if number == len(lines):
                continue  # torn: the process was killed while it wrote
            raise UserError(f"{path}, line {number} is no record of a download: remove it") from None
        if record:
            records.pop(record.id, None)  # in the order in which they were written last
            records[record.id] = record
    return records
