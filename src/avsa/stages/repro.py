"""The verb ``repro``: the pipeline, whose stages are runs below one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from avsa.errors import UserError
from avsa.resolve import Resolved
from avsa.tracking.run import stage_run


def run_repro(resolved: Resolved, base: str | None, overrides: Sequence[str]) -> None:
    """``dvc repro``, or ``dvc exp run -S`` where something is chosen; a signal reaches DVC and its stages.

    Raises:
        UserError: a stage failed.
    """
    choices = [*([f"base={base}"] if base else []), *overrides]
    command = [sys.executable, "-m", "dvc", *(["exp", "run"] if choices else ["repro"])]
    for choice in choices:
        command += ["-S", f"++{choice}"]  # DVC's word for: also where params.yaml does not have it
    with stage_run(resolved, "repro", "repro") as run:
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": programs, "MLFLOW_RUN_ID": run.run_id}
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored, here and in children
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            try:
                code = process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: stages save, DVC gives its locks back
                process.wait()
                raise
        if code:
            raise UserError(f"the pipeline did not end well (dvc: exit code {code}): its words are above")
