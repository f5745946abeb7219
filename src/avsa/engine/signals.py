"""SIGTERM and SIGINT as a request to stop after the present step."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(Exception):  # noqa: N818 - not an error: all is saved
    """Training stopped because a signal asked for it; the checkpoint holds everything up to here."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the next start continues from here")
        self.exit_code = 128 + number  # as a shell reports it: 143 for SIGTERM, 130 for SIGINT


class StopRequest:
    """While entered: the first signal sets ``number``; another, a second or more later, ends the process at once."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.number = 0  # 0: nobody asked
        self._asked_at = 0.0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked loader process: its parent decides when it ends
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.number and time.monotonic() - self._asked_at > 1:  # launchers tend to send the first one twice
            os._exit(128 + number)
        self.number, self._asked_at = self.number or number, self._asked_at or time.monotonic()
