"""What a run ran with beside its configuration: code, packages, machine."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

from avsa.tracking.store import public

LOCK = Path("requirements.lock")
WRITTEN = ("dvc.lock", "reports")
"""What the pipeline itself changes of what git holds."""


def code_version(folder: Path | None = None) -> dict[str, str]:
    """Tags ``git.commit`` and ``git.dirty``: whether files differ from it or are new, but for what git ignores and what
    the pipeline writes. Outside of a repository what a container image says of itself, or nothing."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        others = [f":(top,exclude){path}" for path in WRITTEN]
        changed = git("status", "--porcelain", "-unormal", "--", ":(top)", *others)
        return {"git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed))}
    except (OSError, subprocess.CalledProcessError):
        image = os.environ.get("AVSA_COMMIT")  # as git describe --dirty has it
        return {"git.commit": image.removesuffix("-dirty"), "git.dirty": str(image.endswith("-dirty"))} if image else {}


def experiment_tags() -> dict[str, str]:
    """What DVC says of itself to the stages that it starts."""
    named = {"dvc.stage": "DVC_STAGE", "dvc.exp": "DVC_EXP_NAME", "dvc.exp.baseline": "DVC_EXP_BASELINE_REV"}
    return {tag: os.environ[name] for tag, name in named.items() if os.environ.get(name)}


def environment() -> dict[str, str]:
    """Tags ``env.*``: what the result may depend on beside code, data and configuration."""
    tags = {
        "env.python": platform.python_version(),
        "env.machine": f"{socket.gethostname()}, {_processor()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "env.system": platform.platform(),
    }
    for package in ("torch", "avsa"):
        with suppress(metadata.PackageNotFoundError):
            tags[f"env.{package}"] = metadata.version(package)
    with suppress(OSError):
        tags["env.lock"] = hashlib.md5(lock_file().read_bytes(), usedforsecurity=False).hexdigest()
    with suppress(OSError):
        tags["env.driver"] = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    torch = sys.modules.get("torch")  # a stage without it need not wait for its import
    if torch is not None and torch.version.cuda:
        tags["env.cuda"] = torch.version.cuda
        if torch.cuda.is_available():
            tags["env.gpu"] = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
    return tags


def source_tags() -> dict[str, str]:
    """What MLflow's pages show as user and source."""
    command = public(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    tags = {"mlflow.source.name": command[:500], "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    return tags


def lock_file() -> Path:
    """The lock of the project folder, else of the sources that run (an experiment's copy, an editable install)."""
    return LOCK if LOCK.exists() else Path(__file__).parents[3] / LOCK


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
