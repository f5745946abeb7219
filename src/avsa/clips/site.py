"""What the workers of a cluster must share with the machine that runs the ingest: versions, code and folders."""

from __future__ import annotations

import hashlib
import platform
import socket
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import avsa
from avsa.clips.recordings import Recording
from avsa.errors import UserError

_SAME = ("av", "numpy", "pydantic", "torch")  # what makes the store's bytes
_CODE = ("clips", "ambisonics", "config")


@dataclass(frozen=True)
class Site:
    """A mark in the work folder, to prove that another machine sees the same folder; and the versions here."""

    mark: Path
    secret: str
    versions: dict[str, str]

    @classmethod
    def founded(cls, work: Path) -> Site:
        """Leave a mark in `work`."""
        site = cls(work / f"site-{uuid4().hex}", uuid4().hex, versions())
        site.mark.write_text(site.secret)
        return site

    def check(self) -> None:
        """Called by a worker.

        Raises:
            UserError: the worker has other versions or does not see the work folder.
        """
        worker = f"the worker on {socket.gethostname()}"
        for name, here in versions().items():
            there = self.versions[name]
            if here != there:
                what = "another state of avsa's code" if name == "avsa" else f"{name} {here} instead of {there}"
                raise UserError(f"{worker} has {what}: install the same on all machines and restart its worker")
        try:
            same = self.mark.read_text() == self.secret
        except OSError:
            same = False
        if not same:
            raise UserError(f"{worker} does not see the folder {self.mark.parent}: put the clip store on a shared disk")

    def check_files(self, recording: Recording, stamp: str) -> None:
        """Called by a worker with what the recording's stamp is where the ingest runs.

        Raises:
            UserError: the worker sees other files there, or none.
        """
        if recording.stamp() != stamp:
            raise UserError(
                f"the worker on {socket.gethostname()} does not see {recording.source} as it is here: put the "
                "recordings on a shared disk, and do not change them during an ingest"
            )


@cache
def versions() -> dict[str, str]:
    """Of everything that a store's bytes depend on."""
    package, code = Path(avsa.__file__).parent, hashlib.sha256()
    for file in sorted(file for folder in _CODE for file in (package / folder).rglob("*.py")):
        code.update(file.read_bytes())
    return {**{name: version(name) for name in _SAME}, "python": _python(), "avsa": code.hexdigest()}


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
