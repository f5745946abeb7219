"""What a user sees while training runs: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from avsa.engine import distributed

LINE_EVERY_S = 30.0  # where there is no terminal
SHOWN = 4  # metrics in a line


def note(text: str) -> None:
    """A line on stderr from rank 0, above the bar if there is one."""
    if distributed.is_main():
        tqdm.write(text, file=sys.stderr)


class Progress:
    """Progress of one phase on stderr, of rank 0."""

    def __init__(self, name: str, done: int, total: int) -> None:
        self._name, self._first, self._done, self._total = name, done, done, total
        self._terminal = distributed.is_main() and sys.stderr.isatty()
        form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(desc=name, initial=done, total=total, bar_format=form, disable=not self._terminal)
        self._begin = self._last_line = self._last_shown = time.monotonic()
        self._examples = 0  # since last shown

    def advance(self, examples: int) -> None:
        """One step over this many examples, on all ranks, is done."""
        self._done += 1
        self._examples += examples
        self._bar.update()

    def rate(self) -> float:
        """Examples per second since metrics were last shown."""
        return self._examples / max(time.monotonic() - self._last_shown, 1e-9)

    def show(self, metrics: Mapping[str, float], rate: float) -> None:
        """Show the first few metrics: on a terminal at once, else if the last line is long ago or this is the end."""
        figures = [f"{name} {value:.4g}" for name, value in list(metrics.items())[:SHOWN]]
        text = ", ".join([*figures, f"{rate:.1f} clips/s"])
        self._bar.set_postfix_str(text)
        now = time.monotonic()
        if not self._terminal and (self._done == self._total or now - self._last_line >= LINE_EVERY_S):
            left_s = (self._total - self._done) * (now - self._begin) / max(self._done - self._first, 1)
            note(f"{self._name}: step {self._done} of {self._total}, {text}, {tqdm.format_interval(left_s)} left")
            self._last_line = now
        self._last_shown, self._examples = now, 0

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()
