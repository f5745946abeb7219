"""What should be in a store once, or in one split only: clips of the same content, and recordings that leak."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from avsa.clips.clip import Clip
from avsa.clips.leaks import LEAKS, Leak
from avsa.clips.store import ClipStore
from avsa.errors import UserError


def find_copies(store: ClipStore, suspects: Iterable[list[int]], most: int) -> list[list[Clip]]:
    """Groups of clips whose picture and sound are the same bytes; of different splits first.

    Args:
        suspects: places in the manifest of clips with members of the same lengths.
        most: so many clips are read at most.
    """
    groups: list[list[Clip]] = []
    for numbers in suspects:
        same: defaultdict[str, list[Clip]] = defaultdict(list)
        for number in numbers[:most]:
            clip = store[number]
            try:
                digest = hashlib.sha256(store.read(clip, "mp4") + store.read(clip, "flac")).hexdigest()
            except UserError:
                continue
            same[digest].append(clip)
        most = max(0, most - len(numbers))
        groups += [clips for clips in same.values() if len(clips) > 1]
    return sorted(groups, key=lambda clips: -len({clip.split for clip in clips}))


def read_leaks(root: Path) -> list[Leak]:
    """The store's report of leaks; none where ingest left none.

    Raises:
        UserError: it is damaged.
    """
    path = root / LEAKS
    if not path.exists():
        return []
    try:
        return [Leak.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise UserError(f"{path} is not a report of leaks: run ingest again") from error
