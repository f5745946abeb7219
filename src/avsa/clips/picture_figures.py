"""What a clip's picture is measured for: whether it moves, and whether it is one equirectangular panorama.

Shapes: H×W pixels.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]

_STILL_EVERY = 32  # frames between those looked at one by one


@dataclass
class _Still:
    """Figures of one frame."""

    steps_W: Grey
    seam: float
    pole: float
    spread: float
    twins: float


class PictureFigures:
    """Gathers a clip's picture figures frame by frame.

    - `motion`: absolute difference of neighbouring frames in grey levels, averaged over time, in the liveliest of 8×16
      fields. A small player in a still hall moves much there; a still image's coding noise is little everywhere.
    - `seam`: mean step from the right edge to the left one against the 95th percentile of the steps between
      neighbouring columns, each plus one grey level. In an equirectangular picture the edges meet.
    - `pole`: standard deviation along the top or the bottom row, the smaller, against the whole picture's. In an
      equirectangular picture these rows are single points.
    - `twins`: correlation of the top with the bottom half or the left with the right one, the greater. The two eyes'
      views of a stereoscopic video are nearly the same picture.
    """

    def __init__(self) -> None:
        self._previous: npt.NDArray[np.int16] | None = None
        self._motion: Any = 0.0
        self._frames = 0
        self._stills: list[_Still] = []

    def add(self, frame: Any) -> None:
        """A yuv420p frame."""
        plane = frame.planes[0]
        grey = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        if self._frames % _STILL_EVERY == 0:
            self._stills.append(_still(grey.astype(np.float32)))
        step = max(1, plane.height // 64)
        coarse = grey[::step, ::step].astype(np.int16)
        if self._previous is not None:
            self._motion = self._motion + np.abs(coarse - self._previous)
        self._previous = coarse
        self._frames += 1

    def figures(self) -> dict[str, float]:
        steps, seam, pole, spread, twins = zip(*(astuple(still) for still in self._stills), strict=True)
        strong = float(np.quantile(np.mean(steps, axis=0), 0.95))
        motion = 0.0
        if self._frames > 1:
            height, width = self._motion.shape
            fields = self._motion[: height // 8 * 8, : width // 16 * 16].reshape(8, height // 8, 16, width // 16)
            motion = float(fields.mean(axis=(1, 3)).max()) / (self._frames - 1)
        return {
            "motion": motion,
            "seam": (float(np.mean(seam)) + 1) / (strong + 1),
            "pole": float(np.mean(pole)) / (float(np.mean(spread)) + 1),
            "twins": float(np.mean(twins)),
        }


def _still(grey_HW: Grey) -> _Still:
    step = max(1, len(grey_HW) // 64)
    coarse_HW = grey_HW[::step, ::step]
    height, width = coarse_HW.shape[0] // 2, coarse_HW.shape[1] // 2
    return _Still(
        steps_W=np.abs(np.diff(grey_HW, axis=1)).mean(axis=0),
        seam=float(np.abs(grey_HW[:, 0] - grey_HW[:, -1]).mean()),
        pole=float(min(grey_HW[0].std(), grey_HW[-1].std())),
        spread=float(grey_HW.std()),
        twins=max(
            _correlation(coarse_HW[:height], coarse_HW[height : 2 * height]),
            _correlation(coarse_HW[:, :width], coarse_HW[:, width : 2 * width]),
        ),
    )


def _correlation(a_HW: Grey, b_HW: Grey) -> float:
    a, b = a_HW - a_HW.mean(), b_HW - b_HW.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-6))
