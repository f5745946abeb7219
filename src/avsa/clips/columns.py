"""What must be known of all clips at once, as columns: 40 bytes per clip, however long the manifest's lines are."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avsa.clips.clip import Clip

ROW = np.dtype(
    [
        ("offset", np.int64),  # of the clip's line in the manifest, bytes
        ("length", np.int32),  # of the line, bytes
        ("crc", np.uint32),  # CRC-32 of the line
        ("source", np.int32),  # number of the recording, counted in the order of the clips
        ("shard", np.int32),  # number of the shard, counted in the order of the clips
        ("form", np.int32),  # index into `Columns.forms`
        ("frames", np.int32),
        ("duration_s", np.float64),
    ]
)


class Form(NamedTuple):
    """What most clips of a store have in common."""

    width: int
    height: int
    fps: float
    sample_rate: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """A row per clip, in manifest order; `columns["frames"]` is a column (see `ROW`)."""

    rows: npt.NDArray[np.void]
    forms: tuple[Form, ...]

    @classmethod
    def build(cls, lines: Iterable[tuple[int, bytes, Clip]]) -> Columns:
        """Of (offset, line, what the line says)."""
        sources: dict[str, int] = {}
        shards: dict[str, int] = {}
        forms: dict[Form, int] = {}
        rows = (
            (
                offset,
                len(line),
                zlib.crc32(line),
                sources.setdefault(clip.origin or clip.source, len(sources)),
                shards.setdefault(clip.shard, len(shards)),
                forms.setdefault(_form(clip), len(forms)),
                clip.frames,
                clip.duration_s,
            )
            for offset, line, clip in lines
        )
        return cls(np.fromiter(rows, ROW), tuple(forms))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = self.rows[name]
        return column


def _form(clip: Clip) -> Form:
    return Form(clip.width, clip.height, clip.fps, clip.sample_rate, tuple(clip.members))
