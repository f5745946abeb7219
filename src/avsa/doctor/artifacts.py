"""Where a run's files go: written to and removed again, as a run would."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avsa.doctor.check import OK, PROBLEM, Finding, reason
from avsa.doctor.remote import CREDENTIALS
from avsa.tracking.store import SQLITE, public


def artifacts(uri: str, experiment: str) -> Iterator[Finding]:
    """A line for the artifact store of the experiment, or of those to come.

    Nothing is said where the tracking store itself cannot be used: its own line says why.
    """
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return
    from mlflow.exceptions import MlflowException

    try:
        location = place(uri, experiment)
    except MlflowException:
        return
    yield _written(location, uri)


def place(uri: str, experiment: str) -> str:
    """Address of the experiment's files; of the default experiment's where there is no such experiment yet.

    Raises:
        MlflowException: the tracking store cannot be used.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment) or client.get_experiment("0")
    return str(found.artifact_location)


def _written(location: str, uri: str) -> Finding:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    name = f"avsa-doctor-{uuid.uuid4().hex[:12]}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "note.txt"
            path.write_text("written by avsa doctor; it may be removed")
            files: Any = get_artifact_repository(f"{location.rstrip('/')}/{name}", tracking_uri=uri)
            files.log_artifact(str(path))
            files.delete_artifacts()
    except Exception as error:  # each artifact store has exceptions of its own
        return Finding(PROBLEM, f"{public(location)} cannot be written: {reason(error)}", _mend(location, str(error)))
    through = ", through the tracking server" if urlsplit(location).scheme == "mlflow-artifacts" else ""
    return Finding(OK, f"{public(location)} can be written{through}")


def _mend(location: str, text: str) -> str:
    if not location.startswith("s3:"):
        return "the server's --artifacts-destination and its own credentials; its log says more"
    if "NoSuchBucket" in text:
        return f"make the bucket {urlsplit(location).netloc}, or MLFLOW_S3_ENDPOINT_URL"
    if any(word in text for word in ("redential", "Denied", "Forbidden", "InvalidAccessKeyId", "Signature", "403")):
        return CREDENTIALS
    if "SSL" in text or "CERTIFICATE" in text:
        return "AWS_CA_BUNDLE=/path/to/ca.pem"
    return "MLFLOW_S3_ENDPOINT_URL, and the network"
