"""Checksums inside Matroska files: most writers put a CRC-32 into each part, which FFmpeg reads past.

An element is an identifier, a length and a content; those whose first child is a CRC-32 tell the sum of what follows it
(RFC 8794, section 11.3.1). WebM has none, and what has none is not judged here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from avsa.clips.ledger import RefusedError

Part = tuple[int, int]  # bytes of a file, from, to

_MAGIC = b"\x1a\x45\xdf\xa3"
_SEGMENT, _CLUSTER, _INFO, _TRACKS = 0x18538067, 0x1F43B675, 0x1549A966, 0x1654AE6B  # others only help to find these
_CRC_HEAD = b"\xbf\x84"
_CHUNK = 1 << 20


def damaged_clusters(path: Path) -> tuple[Part, ...]:
    """The parts with sound and picture whose checksums are wrong; none for a file of another kind.

    Raises:
        RefusedError: it is a part that says what the streams are.
    """
    status = path.stat()
    return _damaged(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # picture and sound are opened one after the other
def _damaged(path: Path, size: int, changed_ns: int) -> tuple[Part, ...]:
    damaged: list[Part] = []
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            return ()
        for kind, begin, end in _parts(file, 0, size):
            if kind not in (_CLUSTER, _INFO, _TRACKS) or _is_intact(file, begin, end):
                continue
            if kind != _CLUSTER:
                reason = f"{path.name} is damaged: the CRC-32 of its header at byte {begin} is another one"
                raise RefusedError("checksum", reason)
            damaged.append((begin, end))
    return tuple(damaged)


def _parts(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Identifier and content of the segment's elements, as far as one follows the other."""
    while at < end:
        file.seek(at)
        head = file.read(12)
        kind_bytes = _width(head)
        size_bytes = _width(head[kind_bytes:])
        if not kind_bytes or not size_bytes or len(head) < kind_bytes + size_bytes:
            return
        kind = int.from_bytes(head[:kind_bytes])
        size = int.from_bytes(head[kind_bytes : kind_bytes + size_bytes]) & (1 << 7 * size_bytes) - 1
        at += kind_bytes + size_bytes
        if size == (1 << 7 * size_bytes) - 1 or (kind != _SEGMENT and at + size > end):  # of unknown length; cut off
            return
        if kind == _SEGMENT:
            continue
        yield kind, at, at + size
        at += size


def _width(head: bytes) -> int:
    """How many bytes a number has, by its leading zeros; 0 for none."""
    return 9 - head[0].bit_length() if head and head[0] else 0


def _is_intact(file: BinaryIO, begin: int, end: int) -> bool:
    file.seek(begin)
    head = file.read(6)
    if not head.startswith(_CRC_HEAD) or end - begin < len(head):
        return True
    found, left = 0, end - begin - len(head)
    while left and (chunk := file.read(min(_CHUNK, left))):
        found, left = zlib.crc32(chunk, found), left - len(chunk)
    return found == int.from_bytes(head[2:], "little")
