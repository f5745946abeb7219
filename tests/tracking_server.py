"""A real ``mlflow server`` of the tests' own, which can be stopped and started."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg2
import pytest
from object_gateway import Gateway
from object_store import KEYS, ObjectStore, object_store


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
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AWS_"))}
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


def documented() -> dict[str, str]:
    """Option -> value of the server in docs/servers.md, without those that are chosen for a machine."""
    page = (Path(__file__).parents[1] / "docs/servers.md").read_text(encoding="utf-8")
    (block,) = (block for block in page.split("```sh\n")[1:] if "\nmlflow server" in block)
    words = shlex.split(block.partition("```")[0].partition("mlflow server")[2].replace("\\\n", " "))
    options = dict(zip(words[::2], words[1::2], strict=True))
    for chosen_here in ("--host", "--port", "--workers"):
        del options[chosen_here]
    return options


@dataclass(frozen=True)
class Served:
    """A tracking server whose artifacts lie in an S3 bucket, both on this machine."""

    uri: str  # by a name that it allows
    refused_uri: str  # by one that it does not
    server: TrackingServer
    objects: ObjectStore
    gateway: Gateway  # between the server and its objects
    postgresql: bool  # else SQLite, where there is none


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests of a process: it takes half a minute to start."""
    folder = tmp_path_factory.mktemp("served")
    database = f"sqlite:///{folder}/server.db"
    with suppress(pytest.skip.Exception):
        url = str(request.getfixturevalue("postgresql"))
        connection = psycopg2.connect(url)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE tracking")
        connection.close()
        database = url.replace("postgresql://", "postgresql+psycopg2://").rpartition("/")[0] + "/tracking"
    with object_store() as objects:
        objects.client().create_bucket(Bucket="mlflow")
        gateway = Gateway(objects.port)
        nowhere = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        keys = {**KEYS, **nowhere, "MLFLOW_S3_ENDPOINT_URL": gateway.url}
        options = {**documented(), "--backend-store-uri": database}
        server = TrackingServer(folder, *chain.from_iterable(options.items()), environment=keys)
        try:
            server.start()
            name = server.uri.replace("127.0.0.1", "localhost")
            yield Served(name, server.uri, server, objects, gateway, database.startswith("postgresql"))
        finally:
            server.stop()
            gateway.close()
