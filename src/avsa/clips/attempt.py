"""One try at converting a recording, and what such tries leave in the work folder that all processes share.

A recording becomes ``<key>.tar`` and, last, ``<key>.json``. While it is being converted there is a ``<key>.busy``.
"""

from __future__ import annotations

from pathlib import Path

from avsa.clips.convert import Index, convert, write_atomically
from avsa.clips.ledger import RefusedError
from avsa.clips.recordings import Recording
from avsa.config import Clips

PATIENCE_S = 300.0  # a recording that takes this long, and some more for its size, hangs
_PATIENCE_S_PER_MB = 30.0  # of a recording's files; 1080p at 1.2 Mbit/s takes 1


def tidy(work: Path, keys: set[str]) -> None:
    """Remove what killed runs left, and results of other files or settings."""
    for path in work.iterdir():
        other = path.suffix in (".tar", ".json") and path.stem not in keys and not path.name.startswith("shard-")
        if other or path.suffix in (".busy", ".part"):
            path.unlink(missing_ok=True)


def attempt(recording: Recording, config: Clips, work: Path, key: str) -> None:
    """Convert the recording, unless an interrupted run has done it.

    Raises:
        OSError: `work` cannot be written.
    """
    if not finished(work, key):
        convert(recording, config, work / f"{key}.tar", work / f"{key}.json")


def finished(work: Path, key: str) -> bool:
    """Whether a try at the recording has come to its end, be it a refusal."""
    try:
        Index.model_validate_json((work / f"{key}.json").read_bytes())
        return (work / f"{key}.tar").is_file()
    except (OSError, ValueError):
        return False


def give_up(recording: Recording, work: Path, key: str, reason: str) -> None:
    """Refuse a recording whose conversion ends its process."""
    (work / f"{key}.busy").unlink(missing_ok=True)
    (work / f"{key}.tar").touch()
    index = Index(refused=[RefusedError("crash", reason).entry(recording.source)])
    write_atomically(work / f"{key}.json", index.model_dump_json().encode())


def patience_of(recording: Recording, patience_s: float) -> int:
    """Whole seconds after which the conversion hangs."""
    size = sum(path.stat().st_size for path in (recording.video, recording.audio) if path and path.is_file())
    return int(patience_s + _PATIENCE_S_PER_MB * size / 1e6)
