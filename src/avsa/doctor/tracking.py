"""Whether the tracking store can be used; what an MLflow server's answer means."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avsa.doctor.check import OK, PROBLEM, WARNING, Finding, reason
from avsa.tracking.store import SQLITE, public

ASKED = "/api/2.0/mlflow/experiments/get-by-name"
"""Unlike /health, a question that a server checks the host and the credentials of."""
REQUEST_S = 10.0
UPGRADE = "back it up, then: mlflow db upgrade URI"


def tracking(uri: str, experiment: str) -> Iterator[Finding]:
    """A line for the store; nothing is made in it."""
    if uri.startswith(SQLITE):
        yield _sqlite(Path(uri.removeprefix(SQLITE)))
    elif uri.startswith(("http://", "https://")):
        yield _server(uri, experiment)
    else:
        yield _database(uri)


def judge(uri: str, status: int, body: str, error: str, version: str = "") -> Finding:
    """What a server's answer to :data:`ASKED` means, or the error instead of one (`status` 0)."""
    host, shown = urlsplit(uri).netloc.rpartition("@")[2], public(uri)  # as it is sent, with the port
    if status == 0:
        return _unreachable(shown, error)
    if status == 403 and "Host" in body:
        mend = f"start the server with --allowed-hosts 'localhost:*,{host}': the port is a part of it"
        return Finding(PROBLEM, f"{shown} refuses the name {host} (403, Invalid Host header)", mend)
    if status in (401, 403):
        mend = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of somebody who may"
        return Finding(PROBLEM, f"{shown} does not let you in ({status})", mend)
    if status == 200 or _says(body) == "RESOURCE_DOES_NOT_EXIST":
        return Finding(OK, f"{shown} answers" + (f", MLflow {version}" if version else ""))
    if status >= 500:
        return Finding(
            PROBLEM, f"{shown} fails ({status}): {reason(body, 80)}", "its log says why; is its database up?"
        )
    return Finding(
        PROBLEM,
        f"{shown} is no MLflow server ({status}: {reason(body, 60)})",
        "correct tracking.uri or MLFLOW_TRACKING_URI",
    )


def _says(body: str) -> str:
    with suppress(ValueError, AttributeError):
        return str(json.loads(body).get("error_code", ""))
    return ""


def _unreachable(shown: str, error: str) -> Finding:
    for words, text, mend in (
        (("CERTIFICATE", "SSL"), "its certificate is not trusted", "REQUESTS_CA_BUNDLE=/path/to/ca.pem"),
        (("resolve", "getaddrinfo", "Name or service", "name resolution"), "no such host", "correct the name, or DNS"),
        (("refused",), "nobody listens there", "start it: mlflow server --host 0.0.0.0 --port ..."),
        (
            ("timed out", "timeout"),
            f"no answer within {REQUEST_S:.0f} s",
            "is it the right address, and no firewall between?",
        ),
    ):
        if any(word in error for word in words):
            return Finding(PROBLEM, f"{shown}: {text}", f"{mend}; or another one: tracking.uri, MLFLOW_TRACKING_URI")
    return Finding(PROBLEM, f"{shown}: {reason(error)}", "correct tracking.uri or MLFLOW_TRACKING_URI")


def _server(uri: str, experiment: str) -> Finding:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.utils import credentials, rest_utils

    library: Any = rest_utils
    access: Any = credentials

    def get(path: str, **named: object) -> tuple[int, str]:
        patient = {"max_retries": 0, "timeout": REQUEST_S, "raise_on_status": False}
        answer = library.http_request(access.get_default_host_creds(uri), path, "GET", **patient, **named)
        return answer.status_code, answer.text

    try:
        status, body = get(ASKED, params={"experiment_name": experiment})
        version = get("/version")[1].strip() if status in (200, 404) else ""
    except MlflowException as error:
        return judge(uri, 0, "", str(error))
    found = judge(uri, status, body, "", version)
    if found.level == OK and version.split(".")[:2] != mlflow.__version__.split(".")[:2]:
        return Finding(
            WARNING,
            f"{found.text}; here it is {mlflow.__version__}",
            "the same version on both sides is what is tested",
        )
    return found


def _sqlite(path: Path) -> Finding:
    if not path.exists():
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if os.access(there, os.W_OK):
            return Finding(OK, f"{path}: will be made by the first run")
        return Finding(
            PROBLEM, f"{path} cannot be made: {there} is not writable", "its owner must allow it, or tracking.uri"
        )
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=REQUEST_S)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
            database.execute("BEGIN IMMEDIATE")  # whether it can be written
            database.rollback()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return Finding(OK, f"{path}: empty, the first run fills it")
        return Finding(PROBLEM, f"{path}: {error}", "another tracking.uri; if it is locked: who else writes to it?")
    return _schema(str(path), row[0] if row else None)


def _database(uri: str) -> Finding:
    """A database that this process would write to without a server."""
    import sqlalchemy

    options = {"connect_timeout": int(REQUEST_S)} if uri.startswith("postgresql") else {}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=options)
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return Finding(OK, f"{public(uri)}: empty, the first run fills it")
            found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
        return _schema(public(uri), found)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        text = reason(str(getattr(error, "orig", "") or error).replace(uri, public(uri)))
        return Finding(
            PROBLEM, f"{public(uri)}: {text}", "correct tracking.uri or MLFLOW_TRACKING_URI, or start the database"
        )


def _schema(name: str, found: str | None) -> Finding:
    from mlflow.store.db import utils

    library: Any = utils
    if found is not None and found != library._get_latest_schema_revision():
        return Finding(PROBLEM, f"{name} was written by another version of MLflow", UPGRADE)
    return Finding(OK, f"{name} can be used")
