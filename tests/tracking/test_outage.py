"""A real tracking server is stopped while a training runs, and started again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tracking_server import TrackingServer, wait_for

from avsa.errors import UserError
from avsa.resolve import resolve
from avsa.tracking.journal import Journal
from avsa.tracking.run import stage_run


@pytest.mark.timeout(1500)  # two starts of a server, on however busy a machine
def test_a_server_that_goes_away_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Training goes on meanwhile; afterwards the server has every step once and in order, files too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    server = TrackingServer(tmp_path)
    resolved = resolve(overrides=[f"tracking.uri={server.uri}"])
    (tmp_path / "page.html").write_text("drawn in the outage")
    try:
        server.start()
        with stage_run(resolved, "pretrain", "avsa-0", remembered=tmp_path / "state/run.json") as run:
            for step in range(1, 51):
                run.log({"train/loss": 1 / step, "train/lr": 0.1}, step)
            wait_for(lambda: not run.journal.waiting, 60)
            server.stop()
            began = time.monotonic()
            for step in range(51, 151):
                run.log({"train/loss": 1 / step, "train/lr": 0.1}, step)
            run.flush()
            run.artifact(tmp_path / "page.html")
            assert time.monotonic() - began < 5  # nobody waited for the server
            assert run.last_step() == 150
            assert run.curves()["train/loss"] == {step: 1 / step for step in range(1, 151)}
            wait_for(lambda: "is away" in capfd.readouterr().err, 60)
            assert run.journal.waiting
            (tmp_path / "page.html").unlink()
            server.start()
            for step in range(151, 161):
                run.log({"train/loss": 1 / step, "train/lr": 0.1}, step)
        client = MlflowClient(server.uri)
        found = client.get_run(run.run_id)
        assert found.info.status == "FINISHED"
        for name, value in (("train/loss", lambda step: 1 / step), ("train/lr", lambda step: 0.1)):
            history = client.get_metric_history(run.run_id, name)
            assert [(m.step, m.value) for m in history] == [(step, value(step)) for step in range(1, 161)]
            assert [m.timestamp for m in history] == sorted(m.timestamp for m in history)
        assert {item.path for item in client.list_artifacts(run.run_id)} == {"config.yaml", "page.html"}
        assert not list((tmp_path / "runs/spool").iterdir())
    finally:
        server.stop()
    with pytest.raises(UserError, match="the tracking store cannot be used"), stage_run(resolved, "synth", "synth"):
        pass  # a run that cannot begin says so


def test_a_run_that_ends_while_the_store_is_away_keeps_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Away here is a database that is locked by somebody else for longer than the run waits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    resolved = resolve(overrides=["tracking.wait_s=0.5"])
    with stage_run(resolved, "pretrain", "avsa-0") as run:
        run.log({"train/loss": 1.0}, 1)
        assert run.sender.settle(60)
        monkeypatch.setattr(run.client, "log_batch", refuse)
        monkeypatch.setattr(run.client, "set_terminated", refuse)
        run.log({"train/loss": 0.5}, 2)
    assert f"the rest of run {run.run_id} waits" in capfd.readouterr().err
    journal = Journal(tmp_path / "runs/spool" / run.run_id)
    kinds = [(entry["kind"], entry.get("step"), entry.get("status")) for entry, _ in journal.unsent(1 << 20)]
    assert ("metrics", 2, None) in kinds
    assert kinds[-1] == ("status", None, "FINISHED")


def refuse(*arguments: object, **named: object) -> None:
    raise ConnectionError("the store is away")
