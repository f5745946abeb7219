"""Label maps of a recording, and those of its clips.

Shapes: T maps, H×W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avsa.clips.label_maps import Map, count_maps, decode_map, is_animated, join_maps, read_map
from avsa.clips.ledger import RefusedError
from avsa.clips.segments import Window
from avsa.clips.sources.layout import Recording
from avsa.clips.sources.panoptic import FPS, PanopticMaps

LabelSource = Path | PanopticMaps | None

_LABEL_FPS = 4.0  # where the truth does not say
_EARLY = 1e-6  # rounding of times
_ODD_MAPS = 1  # so many more or fewer than the time has room for are rounding at a recording's ends


@dataclass(frozen=True)
class Labels:
    """Label maps; map t belongs to the time t / fps."""

    name: str  # for messages
    count: int
    fps: float
    read: Callable[[int], Map]

    def check(self, duration_s: float) -> None:
        """Raises RefusedError where there are more maps than the video of `duration_s` has time for, or fewer."""
        expected = int(np.ceil(duration_s * self.fps - _EARLY))
        if abs(self.count - expected) > _ODD_MAPS:
            maps = f"{self.count} label maps at {self.fps:g} per second"
            reason = f"{maps} do not belong to a video of {duration_s:.2f} s, which has {expected}"
            raise _left_out(reason, self.count, expected)

    def cut(self, start_s: float, duration_s: float) -> bytes:
        """The maps of a clip as one file (`avsa.clips.label_maps`).

        Raises:
            RefusedError: they cannot be read, or are missing for a part of the clip.
        """
        first = int(np.ceil((start_s - _EARLY) * self.fps))
        end = int(np.ceil((start_s + duration_s - _EARLY) * self.fps))
        if end - self.count > _ODD_MAPS or first >= self.count:
            reason = f"{self.count} label maps at {self.fps:g} per second end before {start_s + duration_s:.2f} s"
            raise _left_out(reason, self.count, end)
        try:
            return join_maps((self.read(index) for index in range(first, min(end, self.count))), self.fps)
        except (OSError, ValueError) as error:
            raise _left_out(f"{self.name}: {error}") from error


class ClipLabels:
    """The label maps of a recording's clips. Clips whose maps are refused do without, and the ledger is told.

    Args:
        truth: the recording's.
        duration_s: the video's, where it is known beforehand.
        refuse: takes a refusal and the start of the clip that it is about, None for the recording.
    """

    def __init__(
        self,
        recording: Recording,
        truth: dict[str, Any],
        duration_s: float | None,
        refuse: Callable[[RefusedError, float | None], None],
    ) -> None:
        self._of_segments = recording.segment_labels if any(recording.segment_labels) else ()
        self._truth, self._refuse = truth, refuse
        self._labels = self._read(recording.labels, duration_s, None)

    def cut(self, window: Window, start_s: float, duration_s: float) -> tuple[bytes | None, float | None]:
        """The maps of a clip as one file (`avsa.clips.label_maps`), and how many of them belong to a second."""
        labels, from_s = self._labels, start_s
        if window.listed is not None and self._of_segments:
            labels, from_s = self._read(self._of_segments[window.listed], duration_s, start_s), 0.0
        try:
            return (None, None) if labels is None else (labels.cut(from_s, duration_s), labels.fps)
        except RefusedError as refused:
            self._refuse(refused, start_s)
            return None, None

    def _read(self, source: LabelSource, duration_s: float | None, start_s: float | None) -> Labels | None:
        try:
            labels = read_labels(source, self._truth)
            if labels is not None and duration_s is not None:
                labels.check(duration_s)
            return labels
        except RefusedError as refused:
            self._refuse(refused, start_s)
            return None


def read_labels(source: LabelSource, truth: dict[str, Any]) -> Labels | None:
    """The label maps of a recording: pairs of pictures, or one picture of all maps, one below the other.

    The latter may also be an animated one; there are `label_fps` of the truth (default 4) per second.

    Raises:
        RefusedError: they cannot be read, the picture is not one of whole 2:1 maps, or maps of the pairs are missing.
    """
    if source is None:
        return None
    try:
        return _pairs(source) if isinstance(source, PanopticMaps) else _stack(source, truth)
    except (OSError, ValueError) as error:
        path = source.path if isinstance(source, PanopticMaps) else source
        raise _left_out(f"{path.name}: {error}") from error


def _stack(path: Path, truth: dict[str, Any]) -> Labels:
    fps = float(truth.get("label_fps", _LABEL_FPS))
    if not fps > 0:
        raise ValueError(f"label_fps is {fps:g}")
    png = path.read_bytes()
    if is_animated(png):
        return Labels(path.name, count_maps(png), fps, partial(read_map, png))
    maps = decode_map(png)
    height = maps.shape[1] // 2
    if height == 0 or maps.shape[0] % height:
        raise ValueError("not a stack of maps that are twice as wide as high")
    return Labels(path.name, maps.shape[0] // height, fps, lambda t: maps[t * height : (t + 1) * height])


def _pairs(source: PanopticMaps) -> Labels:
    indices = source.indices()
    first, last = indices[0], indices[-1]
    if first > _ODD_MAPS or len(indices) != last - first + 1:
        missing = next(index for index in range(last + 1) if index not in indices)
        raise ValueError(f"label map {missing} is missing")
    return Labels(source.path.name, last + 1, FPS, lambda index: source.read(max(index, first)))


def _left_out(reason: str, figure: float | None = None, threshold: float | None = None) -> RefusedError:
    return RefusedError("labels", f"label maps are left out: {reason}", figure, threshold)
