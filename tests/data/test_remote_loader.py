"""Batches of a store in a bucket are those of the folder, with decoding processes and a network that fails."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from data_clips import ordinary_clip, write_store
from object_store import ObjectStore, Proxy, object_store, use
from torch.utils.data import DataLoader

from avsa.clips import remote
from avsa.clips.store import ClipStore
from avsa.config import Store, Views
from avsa.data.batch import Batch
from avsa.data.dataset import ClipExamples
from avsa.data.loader import ClipLoader, Steps
from avsa.errors import UserError

VIEWS = Views(size=16, frames=3, audio_s=0.5, crops=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i) for i in range(6)])


@pytest.fixture(scope="module")
def server(store: ClipStore) -> Iterator[ObjectStore]:
    with object_store() as server:
        server.put_folder(Path(store.root), "clips", "six")
        yield server


@pytest.fixture
def proxy(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(server)
    use(monkeypatch, proxy.url)
    monkeypatch.setattr(remote, "BLOCK", 20_000)
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "_FILESYSTEMS", {})
    yield proxy
    proxy.close()


def there(tmp_path: Path) -> ClipStore:
    return ClipStore("s3://clips/six", "train", Store(cache=str(tmp_path / "cache")))


def batches(store: ClipStore, **changes: Any) -> list[Batch]:
    loader = ClipLoader(store, VIEWS, batch=2, seed=1, **changes)
    return [batch for epoch in range(2) for batch in loader.epoch(epoch)]


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.ids == other.ids
        assert all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch) if f.name != "ids")


def test_two_forked_workers_over_a_bad_network(store: ClipStore, proxy: Proxy, tmp_path: Path) -> None:
    remote_store = there(tmp_path)  # this process has used its connections
    proxy.faults = ["cut", "busy", "ok", "cut", "ok", "busy"]
    found = batches(remote_store, workers=2)
    assert proxy.faults == []
    assert_same(found, batches(store))


def test_two_spawned_workers(store: ClipStore, proxy: Proxy, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"repeats": 1, "shuffle": True, "drop_last": True, "rank": 0, "world_size": 1}
    examples = ClipExamples(there(tmp_path), VIEWS, seed=1, moments=1)
    steps = Steps(examples.usable, 2, seed=1, **arguments)
    loader: Any = DataLoader(
        examples, batch_sampler=steps, num_workers=2, collate_fn=_as_is, multiprocessing_context="spawn"
    )
    assert_same(list(loader), list(ClipLoader(store, VIEWS, batch=2, seed=1).epoch(0)))


def _as_is(batch: Any) -> Any:
    return batch


def test_a_bucket_that_vanishes_during_training(
    store: ClipStore, server: ObjectStore, proxy: Proxy, tmp_path: Path
) -> None:
    server.put_folder(Path(store.root), "short-lived", "six")
    remote_store = ClipStore("s3://short-lived/six", "train", Store(cache=str(tmp_path / "cache")))
    loader = ClipLoader(remote_store, VIEWS, batch=1, workers=2)
    epoch = loader.epoch(0)
    next(epoch)
    server.remove_bucket("short-lived")
    for block in (tmp_path / "cache").iterdir():
        block.unlink()
    with pytest.raises(UserError, match=r"^cannot read s3://short-lived/six/\S+: no such object or bucket$"):
        list(loader.epoch(1))
