"""Entries reach a store in order and once, whatever it does meanwhile; the store here is a stand-in that can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from avsa.tracking import sender as sender_module
from avsa.tracking.journal import Journal
from avsa.tracking.sender import Sender, batches


class FlakyStore:
    """Keeps metrics as the SQL store does: equal rows once. Fails as it is told to."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.files_away = False
        self.rows: list[tuple[str, int, int, float]] = []
        self.requests: list[int] = []
        self.away = False
        self.stores_then_breaks = 0
        self.lock = threading.Lock()

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        with self.lock:
            if self.away:
                raise MlflowException("API request to http://x failed with exception Connection refused")
            if any(metric.key == "bad" for metric in metrics):
                raise MlflowException("no such name", INVALID_PARAMETER_VALUE)
            self.requests.append(len(metrics))
            for metric in metrics:
                row = (metric.key, metric.step, metric.timestamp, metric.value)
                if row not in self.rows:
                    self.rows.append(row)
            if self.stores_then_breaks:
                self.stores_then_breaks -= 1
                raise MlflowException("API request to http://x failed with exception Connection reset by peer")

    def log_artifact(self, run_id: str, path: str, folder: str | None = None) -> None:
        if self.away or self.files_away:
            raise MlflowException("API request to http://s3 failed with exception Connection refused")
        self.files.append(Path(path).name)

    def get_run(self, run_id: str) -> None:
        if self.away:
            raise MlflowException("API request to http://x failed with exception Connection refused")


def metrics(step: int, **values: float) -> dict[str, Any]:
    return {"run": "r", "kind": "metrics", "step": step, "time": 1000 + step, "metrics": values or {"loss": step / 2}}


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def sender(store: FlakyStore, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    monkeypatch.setattr(sender_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(sender_module, "GATHER_S", 0.01)
    sender = Sender(journal, cast(MlflowClient, store))
    yield sender
    sender.close()


def test_a_store_that_is_away_gets_everything_in_order(
    store: FlakyStore, journal: Journal, sender: Sender, capfd: pytest.CaptureFixture[str]
) -> None:
    for step in range(1, 4):
        journal.append(metrics(step))
    assert sender.settle(20)
    store.away = True
    for step in range(4, 40):
        journal.append(metrics(step))
        time.sleep(0.002)
    assert not sender.settle(0.3)
    assert [row[1] for row in store.rows] == [1, 2, 3]
    store.away = False
    assert sender.settle(20)
    assert [row[1] for row in store.rows] == list(range(1, 40))
    assert "the tracking store is away" in (said := capfd.readouterr().err)
    assert said.count("is away") == 1  # once, not for every attempt
    assert "the tracking store is back" in said


def test_what_was_stored_before_the_connection_broke_is_there_once(
    store: FlakyStore, journal: Journal, sender: Sender
) -> None:
    store.stores_then_breaks = 3
    for step in range(1, 10):
        journal.append(metrics(step))
    assert sender.settle(20)
    assert [row[1] for row in store.rows] == list(range(1, 10))
    assert sum(store.requests) > 9  # it was sent again


def test_an_entry_that_the_store_refuses_does_not_block_the_others(
    store: FlakyStore, journal: Journal, sender: Sender, capfd: pytest.CaptureFixture[str]
) -> None:
    journal.append(metrics(1))
    assert sender.settle(20)
    journal.append(metrics(2, bad=1.0))
    assert sender.settle(20)
    journal.append(metrics(3))
    assert sender.settle(20)
    assert [row[1] for row in store.rows] == [1, 3]
    assert "the tracking store refuses metrics: no such name" in capfd.readouterr().err


def test_files_whose_store_is_away_let_the_rest_pass(
    store: FlakyStore, journal: Journal, sender: Sender, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def keep(name: str) -> None:
        (tmp_path / name).write_text(name)
        journal.append({"run": "r", "kind": "artifact", "file": journal.keep(tmp_path / name), "folder": None})

    store.files_away = True
    keep("a")
    journal.append(metrics(1))
    keep("b")
    journal.append(metrics(2))
    assert not sender.settle(1.5)
    assert [row[1] for row in store.rows] == [1, 2]
    assert store.files == []
    assert journal.waiting == 2
    said = capfd.readouterr().err
    assert said.count("the artifact store is away") == 1  # once, not for every file and attempt
    assert "the tracking store is away" not in said

    sender.close()  # and it does not matter who sends them
    journal.close(delete=False)
    again = Journal(journal.folder)
    assert [Path(entry["file"]).name for entry, _ in again.late] == ["a", "b"]
    store.files_away = False
    second = Sender(again, cast(MlflowClient, store))
    again.append(metrics(3))
    assert second.settle(20)
    second.close()
    assert store.files == ["a", "b"]
    assert not list((tmp_path / "files").iterdir())

    store.away = store.files_away = True
    third = Sender(again, cast(MlflowClient, store))
    (tmp_path / "c").write_text("c")
    again.append({"run": "r", "kind": "artifact", "file": again.keep(tmp_path / "c"), "folder": None})
    again.append(metrics(4))
    assert not third.settle(0.5)
    assert "the tracking store is away" in capfd.readouterr().err
    store.away = False
    assert not third.settle(0.5)
    assert [row[1] for row in store.rows] == [1, 2, 3, 4]
    assert "the artifact store is away" in capfd.readouterr().err
    store.files_away = False
    assert third.settle(20)
    assert store.files == ["a", "b", "c"]
    assert "the artifact store is back" in capfd.readouterr().err
    third.close()


def test_a_killed_senders_rest_is_sent_by_the_next(store: FlakyStore, journal: Journal, sender: Sender) -> None:
    store.away = True
    for step in range(1, 6):
        journal.append(metrics(step))
    sender.close()
    store.away = False
    journal.close(delete=False)
    again = Journal(journal.folder)
    second = Sender(again, cast(MlflowClient, store))
    assert second.settle(20)
    second.close()
    assert [row[1] for row in store.rows] == [1, 2, 3, 4, 5]


def test_neighbours_go_together_up_to_mlflows_limit(journal: Journal) -> None:
    for step in range(7):
        journal.append(metrics(step, **{f"m{i}": 0.0 for i in range(300)}))
    journal.append({"run": "r", "kind": "tags", "tags": {}})
    journal.append({"run": "r", "kind": "tags", "tags": {}})
    journal.append(metrics(8))
    journal.append({**metrics(8), "run": "other"})
    journal.append({**metrics(9), "run": "other", "md5": "x"})
    journal.append(metrics(9, **{f"m{i}": 0.0 for i in range(1500)}))
    found = [(batch[0]["kind"], batch[0]["run"], len(batch)) for batch, _ in batches(journal)]
    plain = ("metrics", "r", 1)
    expected = [("metrics", "r", 3)] * 2 + [plain] + [("tags", "r", 1)] * 2 + [plain] + [("metrics", "other", 1)] * 2
    assert found == [*expected, plain]
    positions = [position for _, position in batches(journal)]
    assert positions == sorted(positions)
    assert positions[-1] == journal.waiting
