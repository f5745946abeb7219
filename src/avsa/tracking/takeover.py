"""What a process left behind is taken over by one other: who continues its run, or who sends what waits."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"


@contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Wait for those who look at a journal's folder with the same intention, and keep others waiting.

    What the folder holds may have changed meanwhile: read it inside.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
