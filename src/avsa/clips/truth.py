"""Label maps and ground truth of a recording, and the part of them that belongs to a clip.

Shapes: T maps, H×W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avsa.clips.label_maps import Map, count_maps, decode_map, is_animated, join_maps, read_map
from avsa.clips.ledger import RefusedError
from avsa.clips.sources import starss23
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


def read_truth(path: Path | None) -> dict[str, Any]:
    """The recording's .json, or what STARSS23's .csv says in its form.

    Raises:
        RefusedError: it is neither.
    """
    if path is None:
        return {}
    try:
        truth = starss23.read_metadata(path) if path.suffix == ".csv" else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError("truth", f"{path.name} cannot be read: {error}") from error
    if not isinstance(truth, dict):
        raise RefusedError("truth", f"{path.name} is not a JSON object")
    return truth


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


def cut_truth(truth: dict[str, Any], start_s: float, duration_s: float) -> dict[str, Any]:
    """The truth of a clip: `time_s` from the clip's start, and of every list that runs along it the clip's part.

    Objects that are nowhere during the clip (all their azimuths are None) are left out.
    """
    times = np.asarray(truth.get("time_s", []), float)
    kept = _inside(times, start_s, duration_s)
    if len(kept) == len(times) and start_s == 0:
        return truth

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(item) for key, item in value.items()}
        if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            return [cut(item) for item in value]
        if isinstance(value, list) and len(value) == len(times):
            return [value[i] for i in kept]
        return value

    clip: dict[str, Any] = cut(truth)
    if "objects" in clip:
        clip["objects"] = [item for item in clip["objects"] if set(item.get("azimuth") or [0]) != {None}]
    return {**clip, "time_s": [round(float(times[i]) - start_s, 5) for i in kept]}


def _inside(times: npt.NDArray[np.floating], start_s: float, duration_s: float) -> list[int]:
    return [int(i) for i in np.flatnonzero((times >= start_s - _EARLY) & (times < start_s + duration_s - _EARLY))]
