"""Whether a container is well: of runs that live here, one that records nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from avsa.tracking.health import silent_runs
from avsa.tracking.journal import JOURNAL, Journal
from avsa.tracking.process import this_process


def test_a_living_run_that_records_nothing_is_found(tmp_path: Path) -> None:
    spool = tmp_path / "runs" / "spool"
    ours = this_process()
    for name, owner in {"ours": ours, "gone": {**ours, "started": 0}, "elsewhere": {**ours, "machine": "moon"}}.items():
        Journal(spool / name, owner).close(delete=False)
    assert silent_runs(spool) == []
    past = time.time() - 300
    for name in ("ours", "gone", "elsewhere"):
        os.utime(spool / name / JOURNAL, (past, past))
    assert silent_runs(spool) == ["run ours: nothing recorded for 300 s"]
    check = subprocess.run(
        [sys.executable, "-m", "avsa.tracking.health"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout.split(":")[0]) == (1, "run ours")


def test_nothing_runs(tmp_path: Path) -> None:
    assert silent_runs(tmp_path / "runs" / "spool") == []
