"""A PostgreSQL server of the tests' own, where the machine has the program."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    found = shutil.which("postgres")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Path(found).parent if found else installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of an empty database; skips where PostgreSQL is not installed, or root has nobody to run it as."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="avsa-postgresql-"))
    if os.getuid() == 0:
        try:
            shutil.chown(folder, user)
        except LookupError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, user=user, capture_output=True, timeout=120)

    data, log = str(folder / "data"), str(folder / "log")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "avsa", "--no-sync", "--locale=C")
        run(f"{programs}/pg_ctl", "-D", data, "-l", log, "-w", "-t", "100", "-o", options, "start")
        yield f"postgresql://avsa:secret@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [f"{programs}/pg_ctl", "-D", data, "-m", "immediate", "stop"], user=user, cwd=folder, check=False
        )
        shutil.rmtree(folder, ignore_errors=True)
