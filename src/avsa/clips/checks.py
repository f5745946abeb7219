"""What a clip must be: thresholds (`avsa.config.Checks`) on the figures of its sound, its picture and its time line.

Why each threshold stands where it does, with the measured margins: ``docs/checks.md``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from avsa.clips.ledger import RefusedError
from avsa.config import Checks

_PASSIVE = 1.1  # fully correlated channels longer than this against W are no sound field
_PASSIVE_DB = 0.5  # two signals with more in Y, Z, X than in W are no two sources
_LATE = 1.5  # intervals between frames of more than so many ordinary ones miss some


def check_channels(found: int, expected: int) -> None:
    """Raises RefusedError unless the sound has the number of channels that its declared order needs."""
    if found != expected:
        kind = {1: "mono", 2: "stereo", 6: "5.1, or ambisonics for channel_order youtube-aac6"}.get(found, "")
        reason = f"the sound has {found} channel{'s' * (found != 1)}{f' ({kind})' * bool(kind)}, not {expected}"
        raise RefusedError("channels", reason, found, expected)


def check_sound(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for silence, mono or stereo in four channels, a voice-over, and sound that drops out.

    A single plane wave is fully correlated too, but the gains of its directional channels have length 1 against W
    (SN3D); no sound field has more, three plain copies have √3. Copies of noise keep a correlation of 0.97 in AAC.
    Two plane waves are two signals as stereo is, but have no more energy in Y, Z and X than in W, and more than one
    directional channel, unless all sound comes along one axis.
    """
    copied = checks.max_mono_correlation
    if figures["rms_db"] < checks.min_rms_db:
        raise RefusedError("silent", "the sound is silent", figures["rms_db"], checks.min_rms_db)
    if figures["loudness"] < checks.min_loudness:
        reason = "the sound is too quiet to be heard"
        raise RefusedError("loudness", reason, figures["loudness"], checks.min_loudness)
    if figures["spatial_db"] < checks.min_spatial_db:
        reason = "the directional channels are empty: mono in four channels"
        raise RefusedError("spatial", reason, figures["spatial_db"], checks.min_spatial_db)
    if figures["mono_correlation"] > copied and figures["mono_gain"] > _PASSIVE:
        reason = "all channels carry the same signal: mono copied to four channels"
        raise RefusedError("mono", reason, figures["mono_correlation"], copied)
    padded = figures["directional"] < 2 or figures["spatial_db"] > _PASSIVE_DB
    if figures["third_signal"] < 1 - copied and padded:
        reason = "the channels carry two signals: stereo in four channels"
        raise RefusedError("stereo", reason, figures["third_signal"], 1 - copied)
    if figures["directionless"] > checks.max_directionless:
        reason = "much of the sound comes from no direction: a voice-over, or music, mixed into W"
        raise RefusedError("voice-over", reason, figures["directionless"], checks.max_directionless)
    still_s = figures.get("dropout_s", 0.0)
    if still_s > checks.max_dropout_s:
        reason = f"the sound drops out: all channels stand still for {still_s:.2f} s, as digital silence does"
        raise RefusedError("dropout", reason, still_s, checks.max_dropout_s)


def check_picture(figures: dict[str, float], checks: Checks) -> None:
    """Raises RefusedError for a still image, and for a picture that is not one equirectangular panorama."""
    if figures["motion"] < checks.min_motion:
        raise RefusedError("still", "the picture does not move: a still image", figures["motion"], checks.min_motion)
    if figures["seam"] > checks.max_seam and figures["pole"] > checks.max_pole:
        reason = "not equirectangular, a cube map or a flat video: the left and right edges do not meet"
        raise RefusedError("projection", reason, figures["seam"], checks.max_seam)
    if figures["twins"] > checks.max_twins:
        reason = "two pictures in one frame: a stereoscopic video; keep one eye's half"
        raise RefusedError("stereoscopic", reason, figures["twins"], checks.max_twins)


def check_lengths(video_s: float, audio_s: float, checks: Checks) -> None:
    """Raises RefusedError when sound and picture end too far apart (seconds from time zero)."""
    gap = abs(video_s - audio_s)
    if gap > checks.max_duration_gap_s:
        reason = f"sound of {audio_s:.2f} s and picture of {video_s:.2f} s do not belong together"
        raise RefusedError("length", reason, gap, checks.max_duration_gap_s)


def check_complete(what: str, decoded_s: float, declared_s: float | None, checks: Checks) -> None:
    """Raises RefusedError when a stream ends long before the file says that it does."""
    missing_s = (declared_s or 0.0) - decoded_s
    if missing_s > checks.max_missing_s:
        reason = f"truncated or damaged: {decoded_s:.2f} of {declared_s:.2f} s of {what} can be decoded"
        raise RefusedError("truncated", reason, missing_s, checks.max_missing_s)


def check_starts(offset_s: float, checks: Checks) -> None:
    """Raises RefusedError when the sound starts too long after the picture (or before it: `offset_s` < 0)."""
    if abs(offset_s) > checks.max_start_offset_s:
        late = f"the {'sound' if offset_s > 0 else 'picture'} starts {abs(offset_s):.2f} s after the "
        reason = f"{late}{'picture' if offset_s > 0 else 'sound'}: cut apart, or from two recordings"
        raise RefusedError("offset", reason, offset_s, checks.max_start_offset_s)


def dropped(times_s: Sequence[float], start_s: float = -math.inf, end_s: float = math.inf) -> float:
    """The share of a span in which frames are missing, from the sorted times of frames: gaps beyond the usual interval.

    A video that is regularly slow misses nothing; one that usually has 30 frames a second and sometimes waits does.
    """
    shown = times_s[max(0, bisect_right(times_s, start_s) - 1) : bisect_right(times_s, end_s)]
    steps = np.diff(np.asarray(shown, np.float64))
    if len(steps) < 2 or shown[-1] <= shown[0]:
        return 0.0
    usual = float(np.median(steps))
    return float((steps[steps > _LATE * usual] - usual).sum()) / (shown[-1] - shown[0])


def check_frames(share: float, checks: Checks) -> None:
    """Raises RefusedError when too many frames are missing (`dropped`)."""
    if share > checks.max_dropped:
        reason = f"frames are missing in {share:.0%} of the time: the picture jerks and lags behind the sound"
        raise RefusedError("dropped", reason, share, checks.max_dropped)
