"""Runs on a tracking server with PostgreSQL whose files lie on S3: through the server, by signed addresses, directly;
and while S3 refuses, is slow, or cannot be trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import object_store
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from object_gateway import Gateway, certificate
from tracking_server import Served, wait_for

from avsa.resolve import Resolved, resolve
from avsa.tracking import sender as sender_module
from avsa.tracking.run import stage_run
from avsa.tracking.stale import send_what_waits
from avsa.tracking.store import open_store

pytest_plugins = ["postgresql_server", "tracking_server"]
pytestmark = pytest.mark.timeout(1200)  # a server starts, on however busy a machine
LARGE = 12 << 20  # bytes; boto3 uploads in parts what has more than 8 MiB
CONTENT = os.urandom(1 << 10) * (LARGE >> 10)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that knows no credentials; attempts follow each other sooner than in earnest."""
    monkeypatch.chdir(tmp_path)
    object_store.use(monkeypatch, "http://127.0.0.1:1", {})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr(sender_module, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(sender_module, "LONGEST_LATE_S", 0.5)
    (tmp_path / "large.bin").write_bytes(CONTENT)
    (tmp_path / "page.html").write_text("a page")
    return tmp_path


@pytest.fixture
def gateway(served: Served) -> Iterator[Gateway]:
    """The one between the server and S3, in order again afterwards."""
    served.gateway.requests.clear()
    yield served.gateway
    served.gateway.busy, served.gateway.slow_s = 0, 0.0


def chosen(served: Served, experiment: str = "avsa", wait_s: float = 60) -> Resolved:
    values = {"uri": served.uri, "experiment": experiment, "wait_s": wait_s}
    return resolve(overrides=[f"tracking.{name}={value}" for name, value in values.items()])


def parts(served: Served, path: str) -> int:
    """In how many parts an object came, 1 for a whole one; S3 says so in its tag."""
    client = served.objects.client()
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="mlflow")["Contents"]]
    (key,) = (key for key in keys if key.endswith(path))
    tag = client.head_object(Bucket="mlflow", Key=key)["ETag"].strip('"')
    assert client.get_object(Bucket="mlflow", Key=key)["Body"].read() == CONTENT
    return int(tag.partition("-")[2] or 1)


def test_through_the_server(served: Served, project: Path) -> None:
    """The client needs no credentials: the server has them."""
    if not served.postgresql:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with stage_run(chosen(served), "pretrain", "avsa-0", arguments={"seed": 3}) as run:
        for step in range(1, 21):
            run.log({"train/loss": 1 / step, "train/lr": 0.1}, step)
        run.artifact(project / "page.html", "pages")
        run.artifact(project / "large.bin")
    client = MlflowClient(served.uri)
    found = client.get_run(run.run_id)
    assert (found.info.status, found.data.params["arg.seed"]) == ("FINISHED", "3")
    assert [m.value for m in client.get_metric_history(run.run_id, "train/loss")] == [1 / n for n in range(1, 21)]
    files = {item.path for folder in ("", "pages") for item in client.list_artifacts(run.run_id, folder)}
    assert files == {"config.yaml", "large.bin", "pages", "pages/page.html"}
    assert parts(served, f"{run.run_id}/artifacts/large.bin") == 2  # as the server's boto3 sends it
    fetched = download_artifacts(run_id=run.run_id, artifact_path="large.bin", tracking_uri=served.uri)
    assert Path(fetched).read_bytes() == CONTENT


def test_by_signed_addresses(served: Served, gateway: Gateway, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server signs, the client sends and fetches parts by itself, still without credentials; a part that S3 refuses
    is sent again."""
    for name, value in {"UPLOAD_MINIMUM_FILE_SIZE": 6, "UPLOAD_CHUNK_SIZE": 5, "DOWNLOAD_MINIMUM_FILE_SIZE": 6}.items():
        monkeypatch.setenv(f"MLFLOW_MULTIPART_{name}", str(value << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(5 << 20))
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    with stage_run(chosen(served), "pretrain", "avsa-0") as run:
        wait_for(lambda: not run.journal.waiting, 60)
        gateway.busy = 1
        run.artifact(project / "large.bin")
    assert parts(served, f"{run.run_id}/artifacts/large.bin") == 3
    signed = [request for request in gateway.requests if request.startswith("PUT") and "X-Amz-Signature" in request]
    assert len(signed) >= 3
    gateway.requests.clear()
    fetched = download_artifacts(run_id=run.run_id, artifact_path="large.bin", tracking_uri=served.uri)
    assert Path(fetched).read_bytes() == CONTENT
    assert len([request for request in gateway.requests if "X-Amz-Signature" in request]) >= 3


def test_directly_with_an_authority_of_ones_own(
    served: Served, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Files that cannot be sent, for want of trust, wait; everything else is stored. Whoever comes later sends them."""
    authority, server = certificate(project)
    https = Gateway(served.objects.port, server)
    object_store.use(monkeypatch, https.url)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", https.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    MlflowClient(served.uri).create_experiment("own-ca", "s3://mlflow/own-ca")
    resolved = chosen(served, "own-ca", wait_s=20)
    with stage_run(resolved, "pretrain", "avsa-0") as run:
        run.artifact(project / "large.bin")
        run.log({"train/loss": 0.5}, 1)
    said = capfd.readouterr().err
    assert said.count("the artifact store is away") == 1
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "avsa doctor --runs" in said
    found = MlflowClient(served.uri).get_run(run.run_id)
    assert (found.info.status, found.data.metrics["train/loss"]) == ("FINISHED", 0.5)
    assert https.requests == []

    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    owner = run.journal.folder / "owner.json"
    owner.write_text(owner.read_text().replace(str(os.getpid()), "999999999"))  # whose process is gone
    monkeypatch.setattr(
        "mlflow.store.artifact.s3_artifact_repo._MAX_CACHE_SECONDS", 0.001
    )  # of clients, with their trust
    (line,) = send_what_waits(open_store(resolved.config.tracking), 60, 0)
    assert line.endswith("bytes sent")
    assert parts(served, f"own-ca/{run.run_id}/artifacts/large.bin") == 2
    assert not list((project / "runs/spool").iterdir())
    https.close()


def test_s3_refuses_and_is_slow(
    served: Served, gateway: Gateway, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Metrics go on meanwhile; attempts are few; afterwards the files are there, and the run is over."""
    said = ""

    def is_said(text: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return text in said

    with stage_run(chosen(served), "pretrain", "avsa-0") as run:
        wait_for(lambda: not run.journal.waiting, 60)
        gateway.busy = True
        began = time.monotonic()
        run.artifact(project / "page.html")
        run.artifact(project / "large.bin")
        for step in range(1, 11):
            run.log({"train/loss": 1 / step}, step)
        assert time.monotonic() - began < 5  # nobody waited
        client = MlflowClient(served.uri)
        wait_for(lambda: "train/loss" in client.get_run(run.run_id).data.metrics, 120)
        wait_for(lambda: is_said("the artifact store is away"), 120)
        assert len(run.journal.late) == 2
        attempts, since = len(gateway.requests), time.monotonic()
        gateway.busy, gateway.slow_s = 0, 0.5
    assert attempts <= 10 * (2 + (since - began))  # MLflow and boto3 try by themselves; between ours there is a pause
    assert is_said("the artifact store is back")
    assert said.count("the artifact store is away") == 1
    assert parts(served, f"{run.run_id}/artifacts/large.bin") == 2
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert not list((project / "runs/spool").iterdir())


def test_s3_stays_away(served: Served, gateway: Gateway, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run's end waits as long as it was told to, and says where the rest is."""
    with stage_run(chosen(served, wait_s=20), "pretrain", "avsa-0") as run:
        wait_for(lambda: not run.journal.waiting, 60)
        gateway.busy = True
        run.artifact(project / "page.html")
    assert f"the rest of run {run.run_id} waits" in capfd.readouterr().err
    assert MlflowClient(served.uri).get_run(run.run_id).info.status == "FINISHED"
    assert [path.name for path in run.journal.folder.rglob("page.html")] == ["page.html"]
