"""A real ``mlflow server`` of the tests' own, which can be stopped and started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path


class TrackingServer:
    """``mlflow server`` on this machine; with SQLite and a folder, where nothing else is said.

    Args:
        folder: where it keeps what it keeps.
        options: of its command line, such as ``--allowed-hosts NAME``.
        environment: beside this process's.
    """

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.options, self.environment = folder, options, environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when it answers."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        for name, value in (("backend-store-uri", f"sqlite:///{self.folder}/server.db"), ("artifacts-destination", "")):
            if not any(option in (f"--{name}", "--no-serve-artifacts") for option in self.options):
                command += [f"--{name}", value or str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options],
                cwd=self.folder,
                env={**env, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, 500)

    def stop(self) -> None:
        """At once, as a machine that is gone."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Return when it is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)
