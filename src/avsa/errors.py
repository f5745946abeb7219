"""The one exception that a user can cause."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A user's mistake, in one line: what is wrong, where, and what to do. The command line exits with 2.

    ``evidence``: files that show it, which the run of the stage keeps.
    """

    def __init__(self, message: str, evidence: Iterable[Path] = ()) -> None:
        super().__init__(message)
        self.evidence = tuple(evidence)
