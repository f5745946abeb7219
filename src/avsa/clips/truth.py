"""Label maps and ground truth of a recording, and the part of them that belongs to a clip."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from avsa.clips.ledger import RefusedError

_LABEL_FPS = 4.0  # where the truth does not say
_EARLY = 1e-6  # rounding of times


@dataclass(frozen=True)
class Labels:
    """T label maps stacked vertically, T*H × W with W = 2·H; map t belongs to the time t / fps."""

    maps: npt.NDArray[np.uint8]
    fps: float
    encoded: bytes  # the file itself

    def cut(self, start_s: float, duration_s: float) -> bytes:
        """The maps of a clip as PNG."""
        height = self.maps.shape[1] // 2
        count = self.maps.shape[0] // height
        kept = _inside(np.arange(count) / self.fps, start_s, duration_s)
        if len(kept) == count:
            return self.encoded
        buffer = io.BytesIO()
        rows = np.concatenate([self.maps[i * height : (i + 1) * height] for i in kept] or [self.maps[:0]])
        Image.fromarray(rows).save(buffer, format="png")
        return buffer.getvalue()


def read_truth(path: Path | None) -> dict[str, Any]:
    """The recording's .json.

    Raises:
        RefusedError: it is not a JSON object.
    """
    if path is None:
        return {}
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError("truth", f"{path.name} cannot be read: {error}") from error
    if not isinstance(truth, dict):
        raise RefusedError("truth", f"{path.name} is not a JSON object")
    return truth


def read_labels(path: Path | None, truth: dict[str, Any]) -> Labels | None:
    """The recording's label maps, `label_fps` of the truth (default 4) of them per second.

    Raises:
        RefusedError: not an 8-bit grey PNG of whole 2:1 maps.
    """
    if path is None:
        return None
    try:
        encoded = path.read_bytes()
        maps = np.asarray(Image.open(io.BytesIO(encoded)))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RefusedError("labels", f"{path.name} cannot be read: {error}") from error
    if maps.dtype != np.uint8 or maps.ndim != 2 or maps.shape[1] < 2 or maps.shape[0] % (maps.shape[1] // 2):
        raise RefusedError("labels", f"{path.name} is not a grey 8-bit stack of maps that are twice as wide as high")
    return Labels(maps, float(truth.get("label_fps", _LABEL_FPS)), encoded)


def cut_truth(truth: dict[str, Any], start_s: float, duration_s: float) -> dict[str, Any]:
    """The truth of a clip: `time_s` from the clip's start, and of every list that runs along it the clip's part."""
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
    return {**clip, "time_s": [round(float(times[i]) - start_s, 5) for i in kept]}


def _inside(times: npt.NDArray[np.floating], start_s: float, duration_s: float) -> list[int]:
    return [int(i) for i in np.flatnonzero((times >= start_s - _EARLY) & (times < start_s + duration_s - _EARLY))]
