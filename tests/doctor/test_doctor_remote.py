"""DVC's remote as the doctor finds it: folders, and a server that speaks S3 with every kind of wrong credentials."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import object_store
import pytest
from dvc.repo import Repo
from object_store import ObjectStore

from avsa.doctor.check import OK, PROBLEM, WARNING, Finding
from avsa.doctor.remote import remote


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store.object_store() as found:
        found.client().create_bucket(Bucket="results")
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    Repo.init(str(tmp_path), no_scm=True).close()
    return tmp_path


def use(patch: pytest.MonkeyPatch, project: Path, url: str, keys: dict[str, str] | None = None) -> None:
    """DVC insists on a configuration that is a file."""
    object_store.use(patch, url, keys)
    (project / "aws").touch()
    patch.setenv("AWS_CONFIG_FILE", str(project / "aws"))


def configured(project: Path, url: str) -> Finding:
    (project / ".dvc/config").write_text(
        f"[core]\n    no_scm = True\n    remote = store\n['remote \"store\"']\n    url = {url}\n"
    )
    (found,) = remote(project)
    return found


def test_without_a_remote(tmp_path: Path) -> None:
    (found,) = remote(tmp_path)
    assert (found.level, "is in no DVC project" in found.text) == (WARNING, True)
    Repo.init(str(tmp_path), no_scm=True).close()
    (found,) = remote(tmp_path)
    assert (found.level, found.text.startswith("none is set")) == (WARNING, True)
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = True\n    remote = nowhere\n")
    (found,) = remote(tmp_path)
    assert (found.level, "nowhere" in found.text) == (PROBLEM, True)


def test_a_folder(project: Path) -> None:
    found = configured(project, str(project / "store"))
    assert found.level == OK
    assert found.text.endswith("can be read and written")
    assert not [path for path in (project / "store").rglob("*") if path.is_file()]
    (project / "file").touch()
    assert configured(project, str(project / "file/store")).level == WARNING


def test_s3(project: Path, server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, project, server.url)
    found = configured(project, "s3://results/dvc")
    assert (found.level, found.text) == (OK, "s3://results/dvc/files/md5 can be read and written")
    assert "Contents" not in server.client().list_objects_v2(Bucket="results")
    lost = configured(project, "s3://no-such-bucket/dvc")
    assert lost.level in (WARNING, PROBLEM)
    assert lost.mend == "make the bucket, or correct it: dvc remote modify NAME url s3://..."
    with server.guarded() as keys:
        use(monkeypatch, project, server.url, keys)
        assert configured(project, "s3://results/dvc").level == OK
        use(monkeypatch, project, server.url, {**keys, "AWS_SECRET_ACCESS_KEY": "a-wrong-one"})
        wrong = configured(project, "s3://results/dvc")
        use(monkeypatch, project, server.url, {})
        none = configured(project, "s3://results/dvc")
    for found in (wrong, none):
        assert found.level == PROBLEM
        assert found.mend.startswith("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        assert "a-wrong-one" not in found.text


def test_nobody_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use(monkeypatch, project, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    found = configured(project, "s3://results/dvc")
    assert found.level == PROBLEM
    assert found.mend.startswith("the network, and the endpoint")
