"""Tar shards: members with fixed headers, so that the same clips give the same bytes."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

END = bytes(2 * tarfile.BLOCKSIZE)  # two empty blocks close an archive


def write_member(file: BinaryIO, name: str, payload: bytes) -> tuple[int, int]:
    """Append one member to an open tar; returns offset and length of its payload."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(payload), 0o644  # time and owner stay zero
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    offset = file.tell()
    file.write(payload)
    file.write(bytes(-len(payload) % tarfile.BLOCKSIZE))
    return offset, len(payload)
