"""The tracking store: where it is, whether it can be used, its experiment."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsa.config import Tracking
from avsa.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
IN_ADDRESS = re.compile(r"(?<=://)[^/\s]*(?=@)")
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Requests fail soon: the journal is what tries again, and a stage that cannot begin says so."""


@dataclass(frozen=True)
class Store:
    """An open store."""

    client: MlflowClient
    uri: str
    experiment_id: str


def project_folder(folder: Path | None = None) -> Path:
    """The folder (by default the current one), or the project that DVC made it a temporary copy of, below
    ``.dvc/tmp/exps``: such copies are deleted."""
    folder = (folder or Path.cwd()).resolve()
    copies = (path for path in folder.parents if path.parts[-3:] == (".dvc", "tmp", "exps"))
    return next((path.parents[2] for path in copies), folder)


def tracking_uri(chosen: str, root: Path | None = None) -> str:
    """``chosen``, else ``MLFLOW_TRACKING_URI``, else SQLite in the project folder; a SQLite path is made absolute, and
    PostgreSQL gets the driver that is installed (SQLAlchemy would take another one)."""
    uri = chosen or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    uri = uri.replace("postgresql://", "postgresql+psycopg2://", 1) if uri.startswith("postgresql://") else uri
    return f"{SQLITE}{project_folder(root) / uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else uri


def public(text: str) -> str:
    """The text without users and passwords of addresses in it: for messages, files and records."""
    return IN_ADDRESS.sub("***", text)


def open_store(config: Tracking) -> Store:
    """Connect, and make the experiment where it is missing.

    Raises:
        UserError: the tracking store cannot be used.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(config.uri)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces every monitor and migration
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # and this one every attempt
    try:
        with _alone(uri):
            client = mlflow.MlflowClient(uri)
            found = client.get_experiment_by_name(config.experiment)
            if found is None:
                return Store(client, uri, client.create_experiment(config.experiment, _artifacts(uri)))
        if found.lifecycle_stage != "active":
            raise UserError(f"the experiment {config.experiment!r} was deleted: restore it, or set tracking.experiment")
        return Store(client, uri, found.experiment_id)
    except (MlflowException, OSError) as error:
        raise refused(uri, error) from None


def refused(uri: str, error: Exception) -> UserError:
    """What the user reads of a store that fails."""
    text = " ".join(str(error).replace(uri, public(uri)).split())[:200]
    return UserError(f"{public(uri)}: the tracking store cannot be used: {text}")


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time opens a SQLite store: two that make its tables at once get in each other's way.

    A file that cannot be used is refused at once; MLflow would try it again for minutes.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    path = Path(uri.removeprefix(SQLITE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:  # an empty file is an empty database
            file.seek(0)
            head = file.read(16)
        lock = path.with_name(f"{path.name}.lock").open("w")
    except OSError as error:
        raise UserError(f"{uri}: the tracking store cannot be used: {error.strerror}") from None
    if head not in (b"", b"SQLite format 3\0"):
        lock.close()
        raise UserError(f"{uri}: the tracking store cannot be used: not a SQLite database")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _artifacts(uri: str) -> str | None:
    """Artifacts of a local store lie beside its database, not in whatever folder a command was started in."""
    return (Path(uri.removeprefix(SQLITE)).parent / "mlartifacts").as_uri() if uri.startswith(SQLITE) else None
