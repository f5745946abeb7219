"""Whether a container could run a stage: the engine, the image, and what is seen from within."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from avsa.config import Config
from avsa.doctor import inside
from avsa.doctor.check import OK, PROBLEM, WARNING, Finding, reason
from avsa.doctor.tracking import ASKED, REQUEST_S
from avsa.errors import UserError
from avsa.tracking.environment import code_version
from avsa.tracking.store import SQLITE

ASK_S, RUN_S = 20.0, 180.0  # PyTorch's import from a cold disk takes most of it


def image_of(name: str) -> str:
    """An image's name, or that of an MLflow project's in a folder, as ``mlflow run FOLDER`` takes it.

    Raises:
        UserError: a folder without such a project.
    """
    if not Path(name).is_dir():
        return name
    try:
        return str(yaml.safe_load((Path(name) / "MLproject").read_text(encoding="utf-8"))["docker_env"]["image"])
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise UserError(f"{name}/MLproject names no image (docker_env: image): give the image itself") from None


def container(image: str, arguments: Sequence[str], uri: str, config: Config) -> Iterator[Finding]:
    """Lines until the first problem that makes the others senseless.

    Args:
        image: the image of ``docker_env``.
        arguments: of ``docker run``, as ``mlflow run -A`` takes them: ``gpus=all``, ``net=host``.
        uri: of the tracking store.
    """
    try:
        engine = _docker("info", timeout_s=ASK_S)
        if engine.returncode:
            yield Finding(PROBLEM, f"the container engine does not answer: {_said(engine)}", _engine(engine.stderr))
            return
        there = _docker("image", "inspect", image, "--format", "{{json .Config.Labels}}", timeout_s=ASK_S)
    except FileNotFoundError:
        yield Finding(
            PROBLEM, "docker is not installed", "https://docs.docker.com/engine/install, or run without a container"
        )
        return
    except subprocess.TimeoutExpired:
        yield Finding(PROBLEM, f"the container engine gives no answer within {ASK_S:.0f} s", "systemctl restart docker")
        return
    if there.returncode:
        mend = f"make image, or docker pull {image}"
        yield Finding(PROBLEM, f"the image {image} is not here: {_said(there)}", mend)
        return
    yield _age(image, there.stdout)
    if not uri.startswith(("http://", "https://")):
        what = "SQLite file" if uri.startswith(SQLITE) else "store"
        mend = "mlflow server --host 0.0.0.0 ..., then MLFLOW_TRACKING_URI=http://HOST:PORT"
        yield Finding(PROBLEM, f"a container does not share this machine's {what}: it needs a tracking server", mend)
        return
    yield from _within(image, arguments, uri, config)


def _within(image: str, arguments: Sequence[str], uri: str, config: Config) -> Iterator[Finding]:
    name = f"avsa-doctor-{uuid.uuid4().hex[:8]}"
    given = [
        "-e",
        "MLFLOW_TRACKING_URI",
        "-e",
        "AVSA_EXPERIMENT",
    ]  # by name: a value would be seen in the list of processes
    command = ["run", "--rm", "--name", name, *options(arguments), *given, "--entrypoint", "python", image]
    shell = {**os.environ, "MLFLOW_TRACKING_URI": uri, "AVSA_EXPERIMENT": config.tracking.experiment}
    program = [inside.PROGRAM.read_text(encoding="utf-8"), ASKED, str(REQUEST_S)]
    try:
        ran = _docker(*command, "-c", *program, timeout_s=RUN_S, environment=shell)
    except subprocess.TimeoutExpired:
        with suppress(subprocess.TimeoutExpired):
            _docker("rm", "-f", name, timeout_s=ASK_S)
        yield Finding(
            PROBLEM, f"a container of {image} gives no answer within {RUN_S:.0f} s", f"docker run --rm {image} true"
        )
        return
    seen = inside.parse(ran.stdout)
    if seen is None:
        yield Finding(PROBLEM, f"a container of {image} does not start: {_said(ran)}", _start(ran.stderr))
        return
    yield from inside.verdicts(seen, uri, config, inside.DRIVER.exists())


def options(arguments: Sequence[str]) -> list[str]:
    """``mlflow run``'s ``-A`` as ``docker run`` takes it."""
    found = []
    for argument in arguments:
        name, given, value = argument.partition("=")
        found += ["-" + name if len(name) == 1 else "--" + name, *([value] if given else [])]
    return found


def _age(image: str, labels: str) -> Finding:
    """Whether the image holds the code of this folder, by the label that the build gives it."""
    with suppress(ValueError, AttributeError):
        built = (json.loads(labels) or {}).get("org.opencontainers.image.revision", "").removesuffix("-dirty")
        here = code_version().get("git.commit", "")
        if built and here and built != here:
            text = f"the image {image} holds commit {built[:7]}, this folder is at {here[:7]}"
            return Finding(WARNING, text, "make image, unless this folder is mounted")
    return Finding(OK, f"the engine answers, the image {image} is here")


def _engine(text: str) -> str:
    if "permission denied" in text.lower():
        return "sudo usermod -aG docker $USER, then log in again"
    return "systemctl start docker, or DOCKER_HOST"


def _start(text: str) -> str:
    if "could not select device driver" in text or "nvidia" in text:
        return "install the NVIDIA container toolkit, or leave -A gpus=all out"
    if "python" in text and "not found" in text:
        return "the image needs Python: make image builds one that has it"
    return "docker run says why"


def _docker(
    *arguments: str, timeout_s: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    if shutil.which("docker") is None:
        raise FileNotFoundError("docker")
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)


def _said(ran: subprocess.CompletedProcess[str]) -> str:
    """The line that names the error."""
    lines = [line.strip() for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "cannot" in line.lower()]
    return reason((telling or lines or [f"exit code {ran.returncode}"])[-1])
