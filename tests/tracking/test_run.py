"""Stages as runs in a real SQLite store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from avsa.errors import UserError
from avsa.resolve import Resolved, resolve
from avsa.tracking.run import RUN_FILE, Run, Silent, read_run_file, stage_run, tracking_uri, write_run_file


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder with its store, which is made once: that takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", "")  # restored afterwards: MLflow sets it for its children
        yield folder


@pytest.fixture(autouse=True)
def _in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("DVC_STAGE", raising=False)


@pytest.fixture
def resolved(project: Path) -> Resolved:
    return resolve(overrides=["engine.workers=3"])


def status(run: Run) -> str:
    return str(run.client.get_run(run.run_id).info.status)


def test_a_stage_is_recorded(project: Path, resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "pretrain@avsa-0")
    with stage_run(resolved, "pretrain", "avsa-0") as run:
        assert status(run) == "RUNNING"
        run.log({"train/loss": 2.5, "train/accuracy": 0.25}, step=1)
        run.log({"train/loss": 1.5, "val/loss": 4.0}, step=7)
        run.log({"system/cpu": 50.0}, step=900)
        assert run.last_step() == 7  # the system's metrics count seconds
    stored = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "avsa-0"
    assert stored.data.params == {f"cfg.{key}": str(value) for key, value in resolved.flat().items()}
    assert stored.data.tags["avsa.stage"] == "pretrain"
    assert stored.data.tags["dvc.stage"] == "pretrain@avsa-0"
    assert run.history("train/loss") == {1: 2.5, 7: 1.5}
    assert run.history("val/loss") == {7: 4.0}
    file = Path(download_artifacts(run_id=run.run_id, artifact_path="config.yaml", tracking_uri=run.uri))
    assert yaml.safe_load(file.read_text()) == resolved.config.model_dump(mode="json")
    assert (project / "mlartifacts").is_dir()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SystemExit(143), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (RuntimeError("a mistake of ours"), "FAILED"),
        (UserError("a mistake of yours"), "FAILED"),
    ],
)
def test_the_status_tells_how_it_ended(resolved: Resolved, error: BaseException, expected: str) -> None:
    with pytest.raises(type(error)) as caught, stage_run(resolved, "synth", "synth") as run:
        raise error
    assert caught.value is error
    assert status(run) == expected
    assert mlflow.active_run() is None


def test_a_remembered_run_is_continued(project: Path, resolved: Resolved, tmp_path: Path) -> None:
    place = tmp_path / "state" / RUN_FILE
    uri = f"sqlite:///{project}/mlflow.db"
    with suppress(SystemExit), stage_run(resolved, "pretrain", "avc-0", remembered=place) as first:
        assert json.loads(place.read_text()) == {"run_id": first.run_id, "tracking_uri": uri}
        assert first.last_step() == -1
        first.log({"train/loss": 3.0}, step=5)
        raise SystemExit(143)
    assert status(first) == "KILLED"
    other = resolve(overrides=["engine.workers=5"])  # what a run began with stays recorded
    with stage_run(other, "pretrain", "avc-0", remembered=place) as second:
        assert second.run_id == first.run_id
        assert status(second) == "RUNNING"
        assert second.last_step() == 5
        second.log({"train/loss": 2.0}, step=6)
    assert status(second) == "FINISHED"
    assert second.history("train/loss") == {5: 3.0, 6: 2.0}
    assert second.client.get_run(second.run_id).data.params["cfg.engine.workers"] == "3"


def test_a_run_killed_at_its_very_beginning_still_gets_its_parameters(resolved: Resolved, tmp_path: Path) -> None:
    with stage_run(resolved, "pretrain", "avc-0") as known:
        pass
    bare = known.client.create_run(known.client.get_run(known.run_id).info.experiment_id)
    write_run_file(tmp_path / RUN_FILE, replace(known, run_id=bare.info.run_id))
    with stage_run(resolved, "pretrain", "avc-0", remembered=tmp_path / RUN_FILE) as run:
        assert run.run_id == bare.info.run_id
    params = run.client.get_run(run.run_id).data.params
    assert params == {f"cfg.{key}": str(value) for key, value in resolved.flat().items()}
    assert [item.path for item in run.client.list_artifacts(run.run_id)] == ["config.yaml"]


def test_a_run_that_the_store_has_lost_is_begun_anew(resolved: Resolved, tmp_path: Path) -> None:
    place = tmp_path / RUN_FILE
    with stage_run(resolved, "pretrain", "avc-0", remembered=place) as first:
        pass
    first.client.delete_run(first.run_id)
    with stage_run(resolved, "pretrain", "avc-0", remembered=place) as second:
        assert second.run_id != first.run_id
    lost = {"run_id": "0" * 32, "tracking_uri": first.uri}
    elsewhere = {"run_id": second.run_id, "tracking_uri": "sqlite:////elsewhere/mlflow.db"}
    for content in (lost, elsewhere):
        place.write_text(json.dumps(content))
        with stage_run(resolved, "pretrain", "avc-0", remembered=place) as third:
            assert third.run_id not in (first.run_id, second.run_id)
        assert read_run_file(place) == {"run_id": third.run_id, "tracking_uri": third.uri}


def test_run_files(tmp_path: Path) -> None:
    place = tmp_path / RUN_FILE
    assert read_run_file(place) is None
    for damage in ("{", "[]", '{"run_id": "x"}', ""):
        place.write_text(damage)
        with pytest.raises(UserError, match=r"run\.json: not a run file: delete it$"):
            read_run_file(place)


def test_stores_that_cannot_be_used(project: Path, tmp_path: Path) -> None:
    """Said at once: MLflow by itself tries such a store again for minutes."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "text.db").write_text("this is not a database, whatever its name says")
    for path, reason in [("file/x.db", "(Not a directory|File exists)"), ("text.db", "not a SQLite database")]:
        broken = resolve(overrides=[f"tracking.uri=sqlite:///{tmp_path}/{path}"])
        with (
            pytest.raises(UserError, match=rf"^sqlite:///.*{path}: the tracking store cannot be used: {reason}$"),
            stage_run(broken, "synth", "synth"),
        ):
            pass
    assert (tmp_path / "text.db").read_text().startswith("this is not")


def test_where_runs_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    own = f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri("", tmp_path) == own
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc"  # where DVC runs queued experiments, and deletes it
    (copy / "sub").mkdir(parents=True)
    assert tracking_uri("", copy) == own
    assert tracking_uri("", copy / "sub") == own
    inside = tmp_path / ".dvc" / "exps"  # no such copy
    assert tracking_uri("", inside) == f"sqlite:///{inside}/mlflow.db"
    monkeypatch.chdir(copy)
    assert tracking_uri("") == own
    assert tracking_uri("sqlite:///runs/all.db") == f"sqlite:///{tmp_path}/runs/all.db"
    assert tracking_uri("sqlite:////elsewhere/all.db") == "sqlite:////elsewhere/all.db"
    assert tracking_uri("http://tracking:5000") == "http://tracking:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:6000")
    assert tracking_uri("") == "http://tracking:6000"
    assert tracking_uri("http://tracking:5000") == "http://tracking:5000"


def test_the_commit_is_recorded_where_there_is_one(
    project: Path, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    with stage_run(resolved, "synth", "synth") as outside:
        pass
    assert "git.commit" not in outside.client.get_run(outside.run_id).data.tags
    identity = "git -c user.name=a -c user.email=a@b"
    assert os.system(f"git init -q . && {identity} commit -q --allow-empty -m one && touch x && git add x") == 0
    with stage_run(resolved, "synth", "synth") as inside:
        pass
    tags = inside.client.get_run(inside.run_id).data.tags
    assert tags["git.commit"] == os.popen("git rev-parse HEAD").read().strip()
    assert tags["git.dirty"] == "True"


def test_other_ranks_record_nothing() -> None:
    silent = Silent()
    silent.log({"loss": 1.0}, 3)
    silent.flush()
    assert silent.last_step() == -1


def test_two_processes_of_one_run_have_journals_of_their_own(
    resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study's run is continued by every process that serves it, while the others go on."""
    place = tmp_path / RUN_FILE
    with stage_run(resolved, "sweep", "study", remembered=place) as first:
        first.log({"a": 1.0}, step=1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)  # another process that lives
            with stage_run(resolved, "sweep", "study", remembered=place) as second:
                assert second.run_id == first.run_id
                assert second.journal.folder != first.journal.folder
                second.log({"b": 2.0}, step=1)
        first.log({"a": 2.0}, step=2)
    assert first.history("a") == {1: 1.0, 2: 2.0}
    assert first.history("b") == {1: 2.0}
    assert not list((Path("runs") / "spool").glob(f"{first.run_id}*"))
