"""How fast requests follow each other, and the pauses between attempts; shared by all workers."""

from __future__ import annotations

import random
import threading
import time


class Stopped(Exception):  # noqa: N818 - not an error: what was fetched stays
    """The run is ending."""


class Pace:
    """Hands out turns that are at least `interval_s` apart; waiting ends with `Stopped` once the run does.

    Args:
        interval_s: seconds between two turns, of all workers together.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._next = interval_s, 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()

    def turn(self) -> None:
        """Wait for one's turn to ask the server for something."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval_s
                    break
                wait_s = self._next - now
            self.sleep(wait_s)
        self.check()

    def hold(self, seconds: float) -> None:
        """No turns for so long: the server asked all of us to wait."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run ends before."""
        if self._stop.wait(seconds):
            raise Stopped

    def check(self) -> None:
        """Raises `Stopped` if the run is ending."""
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """End the run: every wait and every download in it."""
        self._stop.set()


def backoff_s(base_s: float, failures: int) -> float:
    """The pause after so many failures in a row: `base_s`, doubled with each, and up to half of it more by chance."""
    return base_s * 2.0 ** (failures - 1) * random.uniform(1.0, 1.5)
