"""``python -m avsa.tracking.health``: whether the runs that this machine records say anything; for a container's health
check. Exit code 1 where one has been silent, with a line for each."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from avsa.tracking.journal import JOURNAL, read_owner
from avsa.tracking.process import lives
from avsa.tracking.run import spool

SILENT_S = 120.0  # an open run records how busy the machine is every ten seconds


def silent_runs(folder: Path, silent_s: float = SILENT_S) -> list[str]:
    """Open runs of living processes that recorded nothing for so long, also not how busy the machine is: stopped, or
    the disk takes nothing."""
    found = []
    for journal in sorted(folder.glob(f"*/{JOURNAL}")):
        owner = read_owner(journal.parent)
        age_s = time.time() - journal.stat().st_mtime
        if owner and lives(owner) and age_s > silent_s:
            found.append(f"run {journal.parent.name}: nothing recorded for {age_s:.0f} s")
    return found


if __name__ == "__main__":
    lines = silent_runs(spool())
    print("\n".join(lines))
    sys.exit(bool(lines))
