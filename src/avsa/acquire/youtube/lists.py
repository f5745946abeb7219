"""The lists of a data set: the ids of each split, and the seconds at which an id's clips start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avsa.clips.sources.downloaded import read_segments
from avsa.clips.sources.layout import SPLITS, YOUTUBE, read_splits
from avsa.errors import UserError

SEGMENTS = "segments.txt"


@dataclass(frozen=True)
class Item:
    """A listed video; its id has been checked, and may become a path or part of an address."""

    id: str
    split: str

    def address(self, template: str) -> str:
        """`download.address` for this video."""
        return template.replace("{id}", self.id).replace("{split}", self.split)


@dataclass(frozen=True)
class Lists:
    """What is to be downloaded, in the order of the lists.

    Attributes:
        splits: id -> split.
        segments: id -> start seconds; empty where the data set has no such list.
        segments_file: what `segments` was read from.
    """

    splits: dict[str, str]
    segments: dict[str, tuple[float, ...]]
    segments_file: Path | None

    def __iter__(self) -> Iterator[Item]:
        return (Item(name, split) for name, split in self.splits.items())


def read_lists(folder: Path) -> Lists:
    """``train.txt``, ``val.txt`` and ``test.txt``, as far as there are such, with an id per line, and ``segments.txt``.

    Raises:
        UserError: no list, a damaged one, an id in two splits, or one that is none of YouTube's.
    """
    paths = {split: folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()}
    if not paths:
        fetch = f": fetch them with `dvc --cd {folder.parent} pull`" if any(folder.glob("*.dvc")) else ""
        raise UserError(f"no list of ids in {folder}, such as train.txt{fetch}")
    splits = read_splits(paths)
    for name, split in splits.items():
        if not re.fullmatch(YOUTUBE, name):
            raise UserError(f"{paths[split]}: {name[:40]!r} is no id of a YouTube video: remove it")
    file = folder / SEGMENTS
    return Lists(splits, read_segments(file), file) if file.is_file() else Lists(splits, {}, None)
