"""What a clip must be: figures of its sound and picture, and the thresholds (`avsa.config.Checks`) they must meet.

Shapes: C = 4 channels W, Y, Z, X; S samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from avsa.clips.ledger import RefusedError
from avsa.clips.sound import Samples
from avsa.config import Checks

_FLOOR = 1e-20  # keeps the logarithm of digital silence finite: -200 dB
_STEP = 4  # the picture's figures look at every fourth row and column
_PASSIVE = 1.1  # fully correlated channels longer than this against W are no sound field


def check_channels(found: int, expected: int) -> None:
    """Raises RefusedError unless the sound has the number of channels that its declared order needs."""
    if found != expected:
        kind = {1: "mono", 2: "stereo", 6: "5.1, or ambisonics for channel_order youtube-aac6"}.get(found, "")
        reason = f"the sound has {found} channel{'s' * (found != 1)}{f' ({kind})' * bool(kind)}, not {expected}"
        raise RefusedError("channels", reason, found, expected)


def sound_figures(foa_CS: Samples) -> dict[str, float]:
    """Level of W (`rms_db`), directional energy against W (`spatial_db`), and whether all channels are one signal:
    the smallest |correlation| of Y, Z, X with W (`mono_correlation`) and the length of their gains (`mono_gain`)."""
    covariance = (foa_CS.astype(np.float64) @ foa_CS.T.astype(np.float64)) / max(1, foa_CS.shape[1])
    energy = np.diag(covariance) + _FLOOR
    correlation = np.abs(covariance[0, 1:]) / np.sqrt(energy[0] * energy[1:])
    return {
        "rms_db": float(10 * np.log10(energy[0])),
        "spatial_db": float(10 * np.log10(energy[1:].sum() / energy[0])),
        "mono_correlation": float(correlation.min()),
        "mono_gain": float(np.linalg.norm(covariance[0, 1:]) / energy[0]),
    }


def check_sound(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for silence, empty directional channels, and one signal copied to all channels.

    A single plane wave is fully correlated too, but the gains of its directional channels have length 1 against W
    (SN3D); no sound field has more, three plain copies have √3.
    """
    if figures["rms_db"] < checks.min_rms_db:
        raise RefusedError("silent", "the sound is silent", figures["rms_db"], checks.min_rms_db)
    if figures["spatial_db"] < checks.min_spatial_db:
        reason = "the directional channels are empty: mono in four channels"
        raise RefusedError("spatial", reason, figures["spatial_db"], checks.min_spatial_db)
    if figures["mono_correlation"] > checks.max_mono_correlation and figures["mono_gain"] > _PASSIVE:
        reason = "all channels carry the same signal: mono copied to four channels"
        raise RefusedError("mono", reason, figures["mono_correlation"], checks.max_mono_correlation)


class PictureFigures:
    """Gathers a clip's picture figures frame by frame: `motion`, the mean absolute difference of neighbouring frames
    in grey levels."""

    def __init__(self) -> None:
        self._previous: npt.NDArray[np.int16] | None = None
        self._difference, self._pairs = 0.0, 0

    def add(self, frame: Any) -> None:
        """A yuv420p frame."""
        plane = frame.planes[0]
        lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        grey = lines[::_STEP, : plane.width : _STEP].astype(np.int16)
        if self._previous is not None:
            self._difference += float(np.abs(grey - self._previous).mean())
            self._pairs += 1
        self._previous = grey

    def figures(self) -> dict[str, float]:
        return {"motion": self._difference / max(1, self._pairs)}


def check_picture(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for a still image."""
    if figures["motion"] < checks.min_motion:
        raise RefusedError("still", "the picture does not move: a still image", figures["motion"], checks.min_motion)


def check_lengths(video_s: float, audio_s: float, checks: Checks) -> None:
    """Raises RefusedError when sound and picture end too far apart (seconds from time zero)."""
    gap = abs(video_s - audio_s)
    if gap > checks.max_duration_gap_s:
        reason = f"sound of {audio_s:.2f} s and picture of {video_s:.2f} s do not belong together"
        raise RefusedError("length", reason, gap, checks.max_duration_gap_s)
