"""All checks of a project, in the order in which they are read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from avsa.config import Config
from avsa.doctor import space
from avsa.doctor.artifacts import artifacts, place
from avsa.doctor.check import Check, Finding, examine
from avsa.doctor.code import code
from avsa.doctor.container import RUN_S, container, image_of
from avsa.doctor.credentials import credentials, in_a_container
from avsa.doctor.gpu import gpu
from avsa.doctor.remote import remote
from avsa.doctor.tracking import tracking
from avsa.doctor.versions import versions
from avsa.tracking.environment import lock_file
from avsa.tracking.store import SETTINGS, SQLITE, tracking_uri


def examination(config: Config, image: str | None, arguments: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """Subject and finding, one after another; no run is made, and what is written anywhere is removed again.

    Args:
        config: resolved.
        image: look at containers of it, too; or the folder of an MLflow project that names it.
        arguments: what ``mlflow run -A`` will be given.

    Raises:
        UserError: a folder that names no image.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for noisy in ("mlflow", "urllib3", "dvc", "botocore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    here, uri, experiment = Path.cwd(), tracking_uri(config.tracking.uri), config.tracking.experiment
    folders = [Path(name) for name in ("runs", "data", "checkpoints", ".dvc/cache")]
    store = ("mlflow",) if not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists() else ()
    checks = [
        Check("versions", partial(versions, lock_file()), ("av",)),
        Check("disk", partial(space.disks, folders)),
        Check("memory", partial(space.shared_memory, config)),
        Check("gpu", partial(gpu, config.engine), () if config.engine.device == "cpu" else ("torch",)),
        Check("git", partial(code, here)),
        Check("credentials", partial(credentials, config.store.address), ("boto3",)),
        Check("dvc remote", partial(remote, here), ("dvc.repo",)),
        Check("tracking", partial(tracking, uri, experiment), store),
        Check("artifacts", partial(artifacts, uri, experiment), store, timeout_s=90.0),
    ]
    if image is not None:
        look = partial(container, image_of(image), arguments, uri, config)
        checks.append(Check("container", look, timeout_s=RUN_S + 60))
        checks.append(Check("container", partial(_passed_on, uri, experiment)))
    yield from examine(checks)


def _passed_on(uri: str, experiment: str) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    try:
        location = place(uri, experiment)
    except MlflowException:
        return  # its own line says so
    yield from in_a_container(location, os.environ)
