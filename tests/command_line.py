"""`avsa` in this process, without paying for its imports again, and as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avsa.cli import main


def avsa(folder: Path, *arguments: str) -> int:
    """Run a verb in a project folder as the console script does. Returns the exit code; the process stays as it was."""
    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    terminated, uri = signal.getsignal(signal.SIGTERM), os.environ.pop("MLFLOW_TRACKING_URI", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["avsa", *arguments])
        try:
            main()
        except SystemExit as exit_:
            return int(exit_.code or 0)
        finally:
            signal.signal(signal.SIGTERM, terminated)
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(deterministic)
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it for its children
            if uri is not None:
                os.environ["MLFLOW_TRACKING_URI"] = uri
    raise AssertionError("the command line ends by leaving")


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """``python -m COMMAND`` in a project folder."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**ours, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
