"""The length that a WAV file declares: FFmpeg takes the file's own where that is less, and what lay after a lost part
would sound too early.

A chunk is four letters, a length and a content (Microsoft and IBM, "Multimedia Programming Interface and Data
Specifications 1.0", 1991); beyond 4 GB the length of ``data`` stands in ``ds64`` (EBU Tech 3306).
"""

from __future__ import annotations

import struct
from pathlib import Path

from avsa.clips.ledger import RefusedError

_UNKNOWN = (0, 0xFFFFFFFF)  # of a file that was being written when nobody knew its end
_SLACK = 64  # bytes; some writers count a header in


def check_wav(path: Path) -> None:
    """Raises RefusedError for a WAV file that is shorter than it declares; other files pass."""
    with path.open("rb") as file:
        head, large = file.read(12), 0
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind == b"ds64" and len(sizes := file.read(min(length, 28))) >= 16:
                large, length = struct.unpack("<8xQ", sizes[:16])[0], length - len(sizes)
            if kind == b"data":
                declared = large if length == _UNKNOWN[1] else length
                there = path.stat().st_size - file.tell()
                if declared not in _UNKNOWN and declared - there > _SLACK:
                    reason = f"{declared - there} of {declared} bytes of sound are missing in {path.name}"
                    raise RefusedError("truncated", reason, declared - there, _SLACK)
                return
            file.seek(length + length % 2, 1)
