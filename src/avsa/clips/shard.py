"""Tar shards: members with fixed headers, so that the same clips give the same bytes."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

END = bytes(2 * tarfile.BLOCKSIZE)  # two empty blocks close an archive


def header(name: str, size: int) -> bytes:
    """The block before a member's payload."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644  # time and owner stay zero
    return info.tobuf(tarfile.USTAR_FORMAT)


def padding(size: int) -> bytes:
    """What fills a payload's last block."""
    return bytes(-size % tarfile.BLOCKSIZE)


def write_member(file: BinaryIO, name: str, payload: bytes) -> tuple[int, int]:
    """Append one member to an open tar; returns offset and length of its payload."""
    file.write(header(name, len(payload)))
    offset = file.tell()
    file.write(payload)
    file.write(padding(len(payload)))
    return offset, len(payload)
