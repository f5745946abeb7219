"""Checksums of raw files, where somebody wrote them down when the files were good.

Most codecs of video and sound carry none: a flipped bit decodes to a wrong picture, and no decoder complains. So what
was recorded about a file is compared before it is decoded: ``SHA256SUMS`` in the raw folder, as ``sha256sum`` writes it
(``sha256sum */* > SHA256SUMS``), and ``downloads.jsonl``, the ledger of `avsa download`.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from avsa.clips.ledger import RefusedError
from avsa.clips.recordings import Recording

SUMS, DOWNLOADS = "SHA256SUMS", "downloads.jsonl"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def check_intact(recording: Recording) -> bool:
    """Whether checksums of the recording's picture and sound are recorded in its raw folder.

    Raises:
        RefusedError: a file's checksum is another one, or the file cannot be read.
    """
    video = recording.video
    if video is None or not video.as_posix().endswith(f"/{recording.source}"):
        return False
    raw = video.parents[len(Path(recording.source).parts) - 1]
    paths = [path for path in (video, recording.audio) if path is not None and path.is_file()]
    known = [_is_recorded(path, raw) for path in paths]  # all are compared
    return all(known)


def _is_recorded(path: Path, raw: Path) -> bool:
    recorded = _recorded(raw, *(_stamp(raw / name) for name in (SUMS, DOWNLOADS)))
    expected = recorded.get(path.relative_to(raw).as_posix()) if path.is_relative_to(raw) else None
    if expected is None:
        return False
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RefusedError("media", f"{path.name} cannot be read: {error.strerror}") from error
    if found != expected:
        reason = f"{path.name} has changed since its checksum was recorded: sha256 {found[:12]}…, not {expected[:12]}…"
        raise RefusedError("checksum", reason)
    return True


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _recorded(raw: Path, sums: tuple[int, int] | None, downloads: tuple[int, int] | None) -> dict[str, str]:
    """Path below `raw` -> sha256; the arguments beside it say when to read again."""
    recorded: dict[str, str] = {}
    if downloads:
        for line in _lines(raw / DOWNLOADS):
            try:
                recorded |= {file["path"]: file["sha256"].lower() for file in json.loads(line).get("files", [])}
            except (ValueError, TypeError, KeyError, AttributeError):  # the last line of a killed run
                continue
    if sums:
        matches = (_LINE.fullmatch(line) for line in _lines(raw / SUMS))
        recorded |= {match[2]: match[1].lower() for match in matches if match}
    return recorded


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
