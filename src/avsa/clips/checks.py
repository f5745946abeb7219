"""What a clip must be: figures of its sound and picture, and the thresholds (`avsa.config.Checks`) they must meet.

Shapes: C = 4 channels W, Y, Z, X; S samples; H×W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from avsa.clips.ledger import RefusedError
from avsa.clips.sound import Samples
from avsa.config import Checks

Grey = npt.NDArray[np.float32]

_FLOOR = 1e-20  # keeps the logarithm of digital silence finite: -200 dB
_STILL_EVERY = 32  # frames between those looked at one by one
_PASSIVE = 1.1  # fully correlated channels longer than this against W are no sound field


def check_channels(found: int, expected: int) -> None:
    """Raises RefusedError unless the sound has the number of channels that its declared order needs."""
    if found != expected:
        kind = {1: "mono", 2: "stereo", 6: "5.1, or ambisonics for channel_order youtube-aac6"}.get(found, "")
        reason = f"the sound has {found} channel{'s' * (found != 1)}{f' ({kind})' * bool(kind)}, not {expected}"
        raise RefusedError("channels", reason, found, expected)


def sound_figures(foa_CS: Samples) -> dict[str, float]:
    """Figures of the sound.

    - `rms_db`: level of W.
    - `spatial_db`: energy of Y, Z and X against W. About 0 in SN3D, 3 where FuMa and 4.8 where N3D was taken for it.
    - `vertical_db`: energy of Z against the lesser of X and Y; mostly below 0 if Z is where it should be.
    - `mono_correlation`, `mono_gain`: the smallest |correlation| of Y, Z, X with W, and the length of their gains.
    """
    covariance = (foa_CS.astype(np.float64) @ foa_CS.T.astype(np.float64)) / max(1, foa_CS.shape[1])
    energy = np.diag(covariance) + _FLOOR
    correlation = np.abs(covariance[0, 1:]) / np.sqrt(energy[0] * energy[1:])
    return {
        "rms_db": float(10 * np.log10(energy[0])),
        "spatial_db": float(10 * np.log10(energy[1:].sum() / energy[0])),
        "vertical_db": float(10 * np.log10(energy[2] / min(energy[1], energy[3]))),
        "mono_correlation": float(correlation.min()),
        "mono_gain": float(np.linalg.norm(covariance[0, 1:]) / energy[0]),
    }


def check_sound(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for silence, empty directional channels, and one signal copied to all channels.

    A single plane wave is fully correlated too, but the gains of its directional channels have length 1 against W
    (SN3D); no sound field has more, three plain copies have √3. Copies of noise keep a correlation of 0.97 in AAC.
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
    """Gathers a clip's picture figures frame by frame.

    - `motion`: absolute difference of neighbouring frames in grey levels, averaged over time, in the liveliest of 8×16
      fields. A small player in a still hall moves much there; a still image's coding noise is little everywhere.
    - `seam`: mean step from the right edge to the left one against the 95th percentile of the steps between
      neighbouring columns, each plus one grey level. In an equirectangular picture the edges meet.
    - `pole`: standard deviation along the top or the bottom row, the smaller, against the whole picture's. In an
      equirectangular picture these rows are single points.
    """

    def __init__(self) -> None:
        self._previous: npt.NDArray[np.int16] | None = None
        self._motion: Any = 0.0
        self._frames = 0
        self._stills: list[tuple[Grey, float, float, float]] = []  # steps of columns, seam, pole, spread

    def add(self, frame: Any) -> None:
        """A yuv420p frame."""
        plane = frame.planes[0]
        grey = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        if self._frames % _STILL_EVERY == 0:
            self._stills.append(_still_figures(grey.astype(np.float32)))
        step = max(1, plane.height // 64)
        coarse = grey[::step, ::step].astype(np.int16)
        if self._previous is not None:
            self._motion = self._motion + np.abs(coarse - self._previous)
        self._previous = coarse
        self._frames += 1

    def figures(self) -> dict[str, float]:
        steps, seam, pole, spread = zip(*self._stills, strict=True)
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
        }


def _still_figures(grey_HW: Grey) -> tuple[Grey, float, float, float]:
    steps_W = np.abs(np.diff(grey_HW, axis=1)).mean(axis=0)
    seam = float(np.abs(grey_HW[:, 0] - grey_HW[:, -1]).mean())
    return steps_W, seam, float(min(grey_HW[0].std(), grey_HW[-1].std())), float(grey_HW.std())


def check_picture(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for a still image, and for a picture that is not equirectangular."""
    if figures["motion"] < checks.min_motion:
        raise RefusedError("still", "the picture does not move: a still image", figures["motion"], checks.min_motion)
    if figures["seam"] > checks.max_seam and figures["pole"] > checks.max_pole:
        reason = "not equirectangular, a cube map or a flat video: the left and right edges do not meet"
        raise RefusedError("projection", reason, figures["seam"], checks.max_seam)


def check_lengths(video_s: float, audio_s: float, checks: Checks) -> None:
    """Raises RefusedError when sound and picture end too far apart (seconds from time zero)."""
    gap = abs(video_s - audio_s)
    if gap > checks.max_duration_gap_s:
        reason = f"sound of {audio_s:.2f} s and picture of {video_s:.2f} s do not belong together"
        raise RefusedError("length", reason, gap, checks.max_duration_gap_s)
