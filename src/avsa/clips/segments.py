"""Which parts of a recording become clips: those listed, or found.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from avsa.clips.ledger import RefusedError
from avsa.clips.sound import Samples
from avsa.config import Clips

TAIL_S = 0.1  # codecs pad and cut the end: a clip may lack this much of its last frame's or sample's time
_LOUD_STEP_S = 1.0


@dataclass(frozen=True)
class Window:
    """A clip to be: the frame at which it begins, and what its id adds to the recording's name."""

    first: int
    name: str
    listed: int | None = None  # which of the listed ones it is
    may_be_short: bool = False  # where the recording ends early, a shorter clip is one


@dataclass(frozen=True)
class Plan:
    """The clips to cut, by their beginnings; the frame that follows their last; listed ones that come too late."""

    cut: list[Window]
    until: int
    late: list[Window]


def plan(listed: tuple[float, ...] | None, foa_CS: Samples, config: Clips) -> Plan:
    """What to cut of a recording with this sound.

    Listed clips begin at the frame nearest to their second. Where none are listed, ``clips.segments.rule`` says what is
    cut: everything, back to back, or windows that do not overlap and are louder than ``min_db`` (W, RMS against full
    scale): from the beginning on the first that is, then the next after its end, at whole seconds.

    Raises:
        RefusedError: no window is loud enough.
    """
    fps, length = config.fps, max(1, round(config.clip_s * config.fps))
    sound_s = foa_CS.shape[1] / config.sample_rate
    clips = int((sound_s + TAIL_S) * fps) // length
    late: list[Window] = []
    if listed is not None:
        wanted = [Window(round(start * fps), _seconds(start), number) for number, start in enumerate(listed)]
        late = [window for window in wanted if (window.first + length) / fps > sound_s + TAIL_S]
        cut = [window for window in wanted if window not in late]
    elif clips == 0:
        return Plan([Window(0, "0000", may_be_short=True)], int(sound_s * fps), [])
    elif config.segments.rule == "loud":
        cut = [Window(round(start * fps), _seconds(start)) for start in _loud(foa_CS, config)]
    else:
        cut = [Window(number * length, f"{number:04d}", may_be_short=number == 0) for number in range(clips)]
    return Plan(cut, max((window.first for window in cut), default=-length) + length, late)


def needed_s(listed: tuple[float, ...] | None, config: Clips) -> float:
    """Up to where the recording must be decoded, in seconds."""
    return math.inf if listed is None else max(listed, default=0.0) + config.clip_s + 1.0


def too_late(window: Window, end_s: float, config: Clips) -> RefusedError:
    """The refusal of a listed clip that goes on after the recording's end."""
    end = window.first / config.fps + config.clip_s
    reason = f"the listed {config.clip_s:g} s end at {end:g} s, the recording at {end_s:.2f} s"
    return RefusedError("segment", reason, end, end_s)


def _loud(foa_CS: Samples, config: Clips) -> list[float]:
    rate, min_db = config.sample_rate, config.segments.min_db
    last_s = foa_CS.shape[1] / rate + TAIL_S - config.clip_s
    starts, start_s, loudest = [], 0.0, -np.inf
    while start_s <= last_s:
        first = round(start_s * rate)
        w_S = foa_CS[0, first : first + round(config.clip_s * rate)]
        level = 10 * np.log10(float(np.dot(w_S, w_S)) / max(1, len(w_S)) + 1e-20)
        loudest = max(loudest, level)
        starts += [start_s] * bool(level >= min_db)
        start_s += np.ceil(config.clip_s) if level >= min_db else _LOUD_STEP_S
    if not starts:
        reason = f"no {config.clip_s:g} s of it are louder than {min_db:g} dB"
        raise RefusedError("loud", reason, float(loudest), min_db)
    return starts


def _seconds(start_s: float) -> str:
    return f"{start_s:g}".replace(".", "_")
