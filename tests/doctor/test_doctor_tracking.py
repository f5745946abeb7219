"""Tracking and artifact stores as the doctor finds them: real servers that are there, away, or refuse."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import object_store
import pytest
from mlflow import MlflowClient
from tracking_server import Served

from avsa.doctor.artifacts import artifacts
from avsa.doctor.check import OK, PROBLEM, WARNING, Finding
from avsa.doctor.tracking import judge, tracking
from avsa.tracking.store import tracking_uri

pytest_plugins = ["postgresql_server", "tracking_server"]


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.timeout(900)  # a server starts, on however busy a machine
def test_a_server(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    MlflowClient(served.uri).create_experiment("known")
    there = only(tracking(served.uri, "unknown"))
    assert there.level == OK
    assert there.text.startswith(f"{served.uri} answers, MLflow 3.")
    assert only(tracking(served.uri, "known")).level == OK
    refused = only(tracking(served.refused_uri, "known"))
    assert refused.level == PROBLEM
    host = served.refused_uri.removeprefix("http://")
    assert refused.text == f"{served.refused_uri} refuses the name {host} (403, Invalid Host header)"
    assert f"--allowed-hosts 'localhost:*,{host}'" in refused.mend
    monkeypatch.setattr("mlflow.__version__", "2.22.0")
    assert only(tracking(served.uri, "known")).level == WARNING
    assert not MlflowClient(served.uri).get_experiment_by_name("unknown")  # a question makes nothing


@pytest.mark.timeout(900)
def test_a_server_that_is_none(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    other = only(tracking(served.objects.url, "avsa"))
    assert (other.level, "is no MLflow server" in other.text) == (PROBLEM, True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("avsa.doctor.tracking.REQUEST_S", 0.5)
        slow = only(tracking(f"http://127.0.0.1:{silent.getsockname()[1]}", "avsa"))
        assert "no answer within" in slow.text
        uri = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
    away = only(tracking(uri, "avsa"))
    assert away.level == PROBLEM
    assert away.text.endswith(": nobody listens there")
    assert "secret" not in away.text
    lost = only(tracking("http://no-such-host.invalid:5000", "avsa"))
    assert lost.text == "http://no-such-host.invalid:5000: no such host"


def test_answers_that_mean_something_else() -> None:
    uri = "https://tracking.example"
    assert judge(uri, 401, "", "").mend.startswith("MLFLOW_TRACKING_USERNAME")
    assert judge(uri, 500, "Internal Server Error", "").mend.startswith("its log")
    assert judge(uri, 404, "<html>", "").level == PROBLEM
    assert "certificate is not trusted" in judge(uri, 0, "", "SSLCertVerificationError(CERTIFICATE_VERIFY_FAILED)").text


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    assert only(tracking(uri, "avsa")).text == f"{path}: will be made by the first run"
    assert not list(artifacts(uri, "avsa"))
    assert not path.exists()
    path.write_text("this is no database, whatever its name says")
    assert only(tracking(uri, "avsa")).level == PROBLEM
    path.write_bytes(b"")
    assert only(tracking(uri, "avsa")).text == f"{path}: empty, the first run fills it"
    MlflowClient(uri).create_experiment("avsa", (tmp_path / "files").as_uri())
    assert only(tracking(uri, "avsa")).text == f"{path} can be used"
    assert only(artifacts(uri, "avsa")).level == OK
    assert not list((tmp_path / "files").iterdir())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'older'")
    assert only(tracking(uri, "avsa")).mend.endswith("mlflow db upgrade URI")


def test_postgresql(postgresql: str) -> None:
    uri = tracking_uri(postgresql)
    found = only(tracking(uri, "avsa"))
    assert (found.level, "empty" in found.text, "secret" in found.text) == (OK, True, False)
    away = only(tracking(tracking_uri("postgresql://avsa:secret@127.0.0.1:1/none"), "avsa"))
    assert (away.level, "refused" in away.text, "secret" in away.text) == (PROBLEM, True, False)


@pytest.mark.timeout(900)
def test_artifacts(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = served.objects
    objects.client().create_bucket(Bucket="doctor")
    for name in ("doctor", "no-such-bucket"):
        MlflowClient(served.uri).create_experiment(name, f"s3://{name}/runs")
    object_store.use(monkeypatch, objects.url)
    through = only(artifacts(served.uri, "avsa"))  # no such experiment yet: as for those to come
    assert through.level == OK
    assert through.text.endswith("can be written, through the tracking server")
    found = objects.client().list_objects_v2(Bucket="mlflow").get("Contents", [])
    assert not [item for item in found if "avsa-doctor" in item["Key"]]
    assert only(artifacts(served.uri, "doctor")).text == "s3://doctor/runs can be written"
    assert "Contents" not in objects.client().list_objects_v2(Bucket="doctor")
    lost = only(artifacts(served.uri, "no-such-bucket"))
    assert (lost.level, lost.mend) == (PROBLEM, "make the bucket no-such-bucket, or MLFLOW_S3_ENDPOINT_URL")
    with objects.guarded() as keys:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AWS_ACCESS_KEY_ID"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-one")
        wrong = only(artifacts(served.uri, "doctor"))
    assert (wrong.level, wrong.mend.startswith("AWS_ACCESS_KEY_ID")) == (PROBLEM, True)
    assert "a-wrong-one" not in wrong.text
    assert not list(artifacts(served.refused_uri, "avsa"))  # the tracking store's own line says why
