"""A store behind an address: the bytes of the local one, by ranges, over a network that fails in every way."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from object_store import ObjectStore, Proxy, object_store, use

from avsa.clips import remote
from avsa.clips.blocks import BlockCache
from avsa.clips.clip import Clip
from avsa.clips.remote import RemoteFiles
from avsa.clips.shard import END, write_member
from avsa.clips.store import MANIFEST, ClipStore
from avsa.config import Store
from avsa.errors import UserError

BLOCK = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of eight clips in two shards; members are random bytes of many lengths."""
    root, lines, random = tmp_path_factory.mktemp("store"), [], np.random.default_rng(0)
    for shard in range(2):
        with (root / f"shard-{shard:05d}.tar").open("wb") as tar:
            for number in range(4):
                name = f"clip-{shard}{number}"
                payloads = {"mp4": random.bytes(900 * number + 3), "flac": random.bytes(700), "json": b'{"n": 1}'}
                members = {key: write_member(tar, f"{name}.{key}", value) for key, value in payloads.items()}
                clip = Clip(
                    id=name,
                    source=f"{name}.mp4",
                    split=("train", "val")[shard],
                    start_s=0,
                    duration_s=1,
                    width=128,
                    height=64,
                    fps=16,
                    frames=16,
                    sample_rate=24000,
                    shard=f"shard-{shard:05d}.tar",
                    members=members,
                    checks={},
                )
                lines.append(clip.model_dump_json() + "\n")
            tar.write(END)
    (root / MANIFEST).write_text("".join(lines))
    (root / "classes.json").write_text(json.dumps({"things": ["a"], "stuff": []}))
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ObjectStore]:
    with object_store() as server:
        server.put_folder(folder, "clips", "a/store")
        yield server


@pytest.fixture
def proxy(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(server)
    use(monkeypatch, proxy.url)
    monkeypatch.setattr(remote, "BLOCK", BLOCK)
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "_FILESYSTEMS", {})  # the endpoint is another
    yield proxy
    proxy.close()


def members(store: ClipStore) -> dict[tuple[str, str], bytes]:
    return {(clip.id, name): store.read(clip, name) for clip in store for name in clip.members}


def settings(path: Path) -> Store:
    return Store(cache=str(path / "cache"))


ADDRESS = "s3://clips/a/store"


def test_the_same_as_the_folder_and_nothing_is_fetched_twice(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    here, there = ClipStore(folder), ClipStore(ADDRESS, settings=settings(tmp_path))
    assert list(there) == list(here)
    assert (there.digest, there.splits) == (here.digest, here.splits)
    assert members(there) == members(here)
    assert there.beside("classes.json") == (folder / "classes.json").read_bytes()
    assert there.beside("nothing.json") is None
    assert str(there.root / "x") == f"{ADDRESS}/x"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert len(proxy.ranges) <= sum(-(-size // BLOCK) for size in sizes.values())
    assert all(int(end) - int(start) < BLOCK for start, end in (asked.split("-") for asked in proxy.ranges))
    proxy.ranges.clear()
    assert members(ClipStore(ADDRESS + "/", "val", settings(tmp_path))) == members(ClipStore(folder, "val"))
    assert proxy.ranges == []


def test_any_range_of_any_file(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    """Against a slice of the file; past its end too."""
    files = RemoteFiles(ADDRESS, BlockCache(tmp_path, 10**6))
    whole, random = (folder / "shard-00000.tar").read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        offset, length = (int(n) for n in random.integers(0, len(whole) + 100, 2))
        assert files.read("shard-00000.tar", offset, length) == whole[offset : offset + length]
    assert files.read("shard-00000.tar", len(whole), 1) == b""


@pytest.mark.parametrize("fault", ["cut", "busy", "stall", "slow"])
def test_what_fails_is_tried_again(
    fault: str,
    folder: Path,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ClipStore(ADDRESS, settings=settings(tmp_path))
    proxy.faults = [fault, fault, "ok", fault]
    if fault in ("stall", "slow"):
        monkeypatch.setattr(remote, "DEADLINE_S", 4.0)
        proxy.faults = [fault]
    failures = proxy.faults.count(fault)
    with caplog.at_level(logging.WARNING):
        assert members(store) == members(ClipStore(folder))
    assert proxy.faults == []
    assert sum("again in" in line.message for line in caplog.records) >= failures  # a busy machine may add some
    proxy.always = "cut"  # what is kept is whole
    assert members(ClipStore(ADDRESS, settings=settings(tmp_path))) == members(ClipStore(folder))


def test_what_fails_for_good_is_one_line(proxy: Proxy, tmp_path: Path) -> None:
    store = ClipStore(ADDRESS, settings=settings(tmp_path))
    proxy.always = "cut"
    before = len(proxy.ranges)
    with pytest.raises(UserError, match=r"^s3://clips/a/store/shard-00000.tar: .*given up after 7 attempts") as caught:
        members(store)
    assert len(proxy.ranges) - before == 7
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "_FILESYSTEMS", {})
    with pytest.raises(UserError, match=r"^s3://clips/a/store/manifest.jsonl: .*127.0.0.1:9.*given up.*ENDPOINT"):
        ClipStore(ADDRESS, settings=settings(tmp_path))


def test_credentials(server: ObjectStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right ones, a wrong secret, an unknown key, none."""

    def open_with(keys: dict[str, str]) -> ClipStore:
        use(monkeypatch, server.url, keys)
        monkeypatch.setattr(remote, "_FILESYSTEMS", {})
        return ClipStore(ADDRESS, settings=settings(tmp_path))

    with server.guarded() as right:
        assert members(open_with(right)) == members(ClipStore(folder))
        for wrong in (
            {**right, "AWS_SECRET_ACCESS_KEY": "wrong"},
            {**right, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"},
            dict[str, str](),
        ):
            with pytest.raises(
                UserError, match=r"^s3://clips/a/store/manifest.jsonl: .*check the credentials"
            ) as caught:
                open_with(wrong)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://no-such-bucket/a/store", "s3://clips/b/store"])
def test_no_store_there(address: str, proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^no clip store at {address} \(manifest.jsonl: no such object or bucket\)"):
        ClipStore(address, settings=settings(tmp_path))


@pytest.mark.parametrize("address", ["nosuch://a/b", "s3://A b/c"])
def test_no_address(address: str, proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{address}/manifest.jsonl: .*check store.address$"):
        ClipStore(address, settings=settings(tmp_path))


def test_a_bucket_that_vanishes(folder: Path, server: ObjectStore, proxy: Proxy, tmp_path: Path) -> None:
    """What has been read can still be read; the rest is one line, at once."""
    server.put_folder(folder, "short-lived", "store")
    store = ClipStore("s3://short-lived/store", settings=settings(tmp_path))
    first = store.read(store[0], "flac")
    server.remove_bucket("short-lived")
    assert store.read(store[0], "flac") == first
    with pytest.raises(
        UserError, match=r"^cannot read s3://short-lived/store/shard-00001.tar: no such object or bucket$"
    ):
        store.read(store[7], "mp4")


def test_another_store_under_the_same_address(folder: Path, server: ObjectStore, proxy: Proxy, tmp_path: Path) -> None:
    server.put_folder(folder, "changing", "store")
    old = ClipStore("s3://changing/store", settings=settings(tmp_path))
    lines = (folder / MANIFEST).read_bytes().splitlines(keepends=True)
    swapped = b"".join(reversed(lines))
    server.client().put_object(Bucket="changing", Key="store/manifest.jsonl", Body=swapped)
    new = ClipStore("s3://changing/store", settings=settings(tmp_path))
    assert [clip.id for clip in new] == [clip.id for clip in ClipStore(folder)][::-1]
    assert [clip.id for clip in old] == [clip.id for clip in ClipStore(folder)]  # from the cache
    fresh = ClipStore("s3://changing/store", settings=settings(tmp_path))
    server.client().put_object(Bucket="changing", Key="store/manifest.jsonl", Body=b"".join(lines))
    for block in (tmp_path / "cache").iterdir():
        block.unlink()
    with pytest.raises(UserError, match=r"manifest.jsonl has changed since it was opened: start again$"):
        list(fresh)


def _read(store: ClipStore) -> dict[tuple[str, str], bytes]:
    return members(store)


def test_forked_processes_and_threads(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    """The parent has connections before the fork, and uses them after it."""
    expected = members(ClipStore(folder))
    store = ClipStore(ADDRESS, settings=settings(tmp_path))
    assert store.read(store[3], "mp4") == expected[store[3].id, "mp4"]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for _ in range(3):
            for block in (tmp_path / "cache").iterdir():
                block.unlink()
            assert pool.map(_read, [store] * 4, chunksize=1) == [expected] * 4
    for block in (tmp_path / "cache").iterdir():
        block.unlink()
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_read, [store] * 4)) == [expected] * 4


def test_a_spawned_process(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    store = ClipStore(ADDRESS, settings=settings(tmp_path))
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(store))
    script = (
        "import hashlib, pickle; store = pickle.load(open('store.pickle', 'rb'))\n"
        "for clip in store: print(hashlib.sha256(b''.join(store.read(clip, m) for m in clip.members)).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    here = ClipStore(folder)
    assert told.stdout.split() == [
        hashlib.sha256(b"".join(here.read(clip, name) for name in clip.members)).hexdigest() for clip in here
    ]


def test_another_file_system(folder: Path, tmp_path: Path) -> None:
    """fsspec's own in memory stands for all that are not asynchronous."""
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}{os.sep}", "/store/", recursive=True)
    there = ClipStore("memory://store", settings=settings(tmp_path))
    assert members(there) == members(ClipStore(folder))
    memory.rm("/store", recursive=True)
