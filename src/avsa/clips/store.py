"""What a clip store is, and reading from it.

A store is a folder: ``shard-00000.tar`` ... (plain ustar, readable as WebDataset), ``manifest.jsonl`` with one `Clip`
per line, ``refused.jsonl`` (`avsa.clips.ledger`) and, where the source had one, ``classes.json``. A clip's members are

- ``<id>.mp4``: H.264, 4:2:0, 8 bit, no B-frames, closed groups of at most ``gop`` frames; frame n is shown at n / fps;
  colour matrix and range are the source's, as tagged;
- ``<id>.flac``: 4 channels ACN/SN3D, 16 bit; sample 0 sounds at the time of frame 0;
- ``<id>.segm.png`` (optional): label maps, 8-bit grey, the pictures of an animated PNG (`avsa.clips.label_maps`);
  picture t belongs to the time t / label_fps;
- ``<id>.json``: the ground truth cut to the clip, with the clip's source and start.

Opening one member takes one read at a known offset, from a local file or as a range request.

A store may lie at an address (``s3://bucket/folder``, or another that fsspec reads); what is read of it is kept in a
cache on the local disk (`avsa.clips.remote`).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from avsa import config
from avsa.clips.address import Address
from avsa.clips.clip import Clip
from avsa.clips.columns import Columns
from avsa.clips.files import open_files, read_lines
from avsa.errors import UserError

MANIFEST = "manifest.jsonl"


class ClipStore(Sequence[Clip]):
    """The clips of one split (or of all) in manifest order, with random access to their bytes.

    A clip's line of the manifest is parsed when the clip is asked for; in memory are the `columns` alone.
    Reading is safe in forked and spawned workers and from several threads: every read carries its own offset.

    Args:
        root: a folder, or an address with ``://``.
        settings: where what is read from an address is kept.

    Attributes:
        columns: what is known of all clips at once.
        splits: the clips of each split of the whole store.
        digest: SHA-256 of the manifest.

    Raises:
        UserError: no store at `root`, a damaged manifest, or a split without clips; an address that refuses or does
            not answer.
    """

    def __init__(self, root: Path | str, split: str | None = None, settings: config.Store | None = None) -> None:
        self._files = open_files(root, settings or config.Store())
        self.splits: Counter[str] = Counter()
        digest = hashlib.sha256()
        try:
            self.columns = Columns.build(self._select(split, digest))
        except OSError as error:
            raise UserError(f"no clip store at {self.root} ({MANIFEST}: {error.strerror}): run ingest") from error
        except ValidationError as error:
            raise UserError(f"{self.root / MANIFEST} is not a manifest of this version: run ingest again") from error
        self.digest = digest.hexdigest()
        if not len(self.columns):
            found = ", ".join(sorted(self.splits)) or "nothing"
            raise UserError(f"no clips of split {split!r} in {self.root}: it holds {found}")

    @property
    def root(self) -> Path | Address:
        """Where the store is."""
        return self._files.root

    @property
    def clips(self) -> Sequence[Clip]:
        """The clips themselves: the store."""
        return self

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> list[Clip]: ...

    def __getitem__(self, index: int | slice) -> Clip | list[Clip]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self.columns.rows[index]
        line = self._read(MANIFEST, int(row["offset"]), int(row["length"]))
        if zlib.crc32(line) != row["crc"]:
            raise UserError(f"{self.root / MANIFEST} has changed since it was opened: start again")
        return Clip.model_validate_json(line)

    def read(self, clip: Clip, member: str) -> bytes:
        """The bytes of one member.

        Raises:
            UserError: the clip has no such member, or the shard is missing, cannot be read or is shorter than the
                manifest says.
        """
        if member not in clip.members:
            raise UserError(f"clip {clip.id} has no {member}: it has {', '.join(clip.members)}")
        offset, length = clip.members[member]
        payload = self._read(clip.shard, offset, length)
        if len(payload) != length:
            raise UserError(f"{self.root / clip.shard} is shorter than its manifest says: run ingest again")
        return payload

    def truth(self, clip: Clip) -> dict[str, Any]:
        """The clip's json member: ground truth, if the source had any, and where the clip comes from."""
        truth: dict[str, Any] = json.loads(self.read(clip, "json"))
        return truth

    def beside(self, name: str) -> bytes | None:
        """A whole file that lies beside the shards, such as ``classes.json``; None where there is none."""
        try:
            return b"".join(read_lines(self._files, name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {self.root / name}: {error.strerror}") from error

    def close(self) -> None:
        """Close the shards; the next read opens them again."""
        self._files.close()

    def _read(self, name: str, offset: int, length: int) -> bytes:
        try:
            return self._files.read(name, offset, length)
        except OSError as error:
            raise UserError(f"cannot read {self.root / name}: {error.strerror}") from error

    def _select(self, split: str | None, digest: hashlib._Hash) -> Iterator[tuple[int, bytes, Clip]]:
        """Offset, line and content of the split's lines; counts those of all, and takes in all bytes."""
        offset = 0
        for line in read_lines(self._files, MANIFEST):
            clip = Clip.model_validate_json(line)
            self.splits[clip.split] += 1
            if split in (None, clip.split):
                yield offset, line, clip
            digest.update(line)
            offset += len(line)
