"""What a clip store is, and reading from it.

A store is a folder: ``shard-00000.tar`` ... (plain ustar, readable as WebDataset), ``manifest.jsonl`` with one `Clip`
per line, ``refused.jsonl`` (`avsa.clips.ledger`) and, where the source had one, ``classes.json``. A clip's members are

- ``<id>.mp4``: H.264, 4:2:0, 8 bit, no B-frames, closed groups of at most ``gop`` frames; frame n is shown at n / fps;
  colour matrix and range are the source's, as tagged;
- ``<id>.flac``: 4 channels ACN/SN3D, 16 bit; sample 0 sounds at the time of frame 0;
- ``<id>.segm.png`` (optional): label maps, T*H x W, 8-bit grey, map t belongs to the time t / label_fps;
- ``<id>.json``: the ground truth cut to the clip, with the clip's source and start.

Opening one member takes one read at a known offset, from a local file or as a range request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from avsa.errors import UserError

MANIFEST = "manifest.jsonl"


class Clip(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str  # path of the recording's video below the raw folder
    split: str
    start_s: float  # within the source
    duration_s: float
    width: int
    height: int
    fps: float
    frames: int
    sample_rate: int
    shard: str  # file name
    members: dict[str, tuple[int, int]]  # "mp4", "flac", "segm.png", "json": offset and length of the payload in bytes
    checks: dict[str, float]
    label_fps: float | None = None
    sha256: str | None = None  # of the members' payloads, one after the other in the order of `members`


class ClipStore:
    """The clips of one split (or of all) in manifest order, with random access to their bytes.

    Reading is safe in forked and spawned workers and from several threads: every read carries its own offset.

    Raises:
        UserError: no store at `root`, a damaged manifest, or a split without clips.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        self.root = Path(root)
        manifest = self.root / MANIFEST
        try:
            lines = manifest.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UserError(f"no clip store at {self.root} ({manifest.name}: {error.strerror}): run ingest") from error
        try:
            clips = [Clip.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise UserError(f"{manifest} is not a manifest of this version: run ingest again") from error
        self.clips = [clip for clip in clips if split in (None, clip.split)]
        if not self.clips:
            found = ", ".join(sorted({clip.split for clip in clips})) or "nothing"
            raise UserError(f"no clips of split {split!r} in {self.root}: it holds {found}")
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def read(self, clip: Clip, member: str) -> bytes:
        """The bytes of one member.

        Raises:
            UserError: the clip has no such member, or the shard is missing or shorter than the manifest says.
        """
        if member not in clip.members:
            raise UserError(f"clip {clip.id} has no {member}: it has {', '.join(clip.members)}")
        offset, length = clip.members[member]
        try:
            payload = os.pread(self._file(clip.shard), length, offset)
        except OSError as error:
            raise UserError(f"cannot read {self.root / clip.shard}: {error.strerror}") from error
        if len(payload) != length:
            raise UserError(f"{self.root / clip.shard} is shorter than its manifest says: run ingest again")
        return payload

    def truth(self, clip: Clip) -> dict[str, Any]:
        """The clip's json member: ground truth, if the source had any, and where the clip comes from."""
        truth: dict[str, Any] = json.loads(self.read(clip, "json"))
        return truth

    def _file(self, shard: str) -> int:
        if shard not in self._files:
            self._files[shard] = os.open(self.root / shard, os.O_RDONLY | os.O_CLOEXEC)
        return self._files[shard]

    def close(self) -> None:
        """Close the shards; the next read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}
