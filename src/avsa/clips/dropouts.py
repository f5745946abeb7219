"""Stretches in which sound stands still: no channel changes from one sample to the next, as in digital silence.

Microphones hiss and rooms hum, so a recording never does it; a disk that gives zeros for what it has lost does, and
bare PCM keeps no other trace of that.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avsa.clips.probe import Span

_SHORTEST_S = 0.01  # that is noted; four channels of 16 bit at a low level stand still for a millisecond


class Dropouts:
    """Takes the samples of a recording piece by piece, at their own rate, and keeps the `spans` that stand still."""

    def __init__(self, sample_rate: int) -> None:
        self.spans: list[Span] = []
        self._rate, self._shortest = sample_rate, round(_SHORTEST_S * sample_rate)
        self._last_C: npt.NDArray[np.float32] | None = None
        self._begun = self._end = 0  # of the stretch that may go on, and of all so far

    def add(self, samples_CS: npt.NDArray[np.float32], position: int) -> None:
        """The next samples, the first of them at `position`; what was left out before them ends a stretch."""
        if not samples_CS.shape[1]:
            return
        if self._last_C is None or position != self._end or (samples_CS[:, 0] != self._last_C).any():
            self.finish()
            self._begun = position
        changes = np.flatnonzero((samples_CS[:, 1:] != samples_CS[:, :-1]).any(axis=0)) + (position + 1)
        if len(changes):
            begins = np.concatenate([[self._begun], changes[:-1]])
            for index in np.flatnonzero(changes - begins >= self._shortest):
                self._note(int(begins[index]), int(changes[index]))
            self._begun = int(changes[-1])
        self._last_C, self._end = samples_CS[:, -1].copy(), position + samples_CS.shape[1]

    def finish(self) -> list[Span]:
        """All stretches, once the last samples are known to be the last."""
        if self._last_C is not None and self._end - self._begun >= self._shortest:
            self._note(self._begun, self._end)
        self._last_C = None
        return self.spans

    def _note(self, begin: int, end: int) -> None:
        self.spans.append((begin / self._rate, end / self._rate))


def longest(spans: list[Span], start_s: float, end_s: float) -> float:
    """Seconds of the longest stretch within a clip; 0 where nothing stands still."""
    return max([0.0, *(min(span[1], end_s) - max(span[0], start_s) for span in spans)])
