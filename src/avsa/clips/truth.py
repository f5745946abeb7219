"""Ground truth of a recording, and the part of it that belongs to a clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avsa.clips.ledger import RefusedError
from avsa.clips.sources import starss23

_EARLY = 1e-6  # rounding of times


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
