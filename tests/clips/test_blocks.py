"""The cache of blocks: its size, what it drops, and what a kill, a full disk and a damaged file leave."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsa.clips.blocks import INCOMING, LOCK, BlockCache
from avsa.errors import UserError

LENGTH, WHOLE = 3000, slice(0, 3000)


def block(name: str) -> bytes:
    """What the block of this name holds."""
    return np.random.default_rng(list(name.encode())).bytes(LENGTH)


def get(cache: BlockCache, name: str, loaded: list[str] | None = None) -> bytes:
    def load() -> bytes:
        if loaded is not None:
            loaded.append(name)
        return block(name)

    return cache.read(name, LENGTH, WHOLE, load)


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (LOCK, INCOMING)}


def test_a_part_comes_from_the_disk_the_second_time(tmp_path: Path) -> None:
    cache, loaded = BlockCache(tmp_path, 10 * LENGTH), list[str]()
    assert get(cache, "a", loaded) == get(cache, "a", loaded) == block("a")
    assert cache.read("a", LENGTH, slice(17, 1400), lambda: b"") == block("a")[17:1400]
    assert loaded == ["a"]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache, loaded = BlockCache(tmp_path, 10 * LENGTH), list[str]()
    for number in range(10):
        get(cache, f"{number}")
        os.utime(tmp_path / f"{number}", (number, number))
    get(cache, "0")  # used again
    get(cache, "new")
    assert sum(map(len, kept(tmp_path).values())) <= 10 * LENGTH
    assert set(kept(tmp_path)) == {"0", *(f"{number}" for number in range(3, 10)), "new"}
    for name in ("0", "5", "1"):
        get(cache, name, loaded)
    assert loaded == ["1"]


def _reader(folder: Path, limit: int, seed: int, names: int, until: float) -> None:
    cache, generator = BlockCache(folder, limit), random.Random(seed)
    while time.time() < until:
        name = f"{generator.randrange(names)}"
        assert get(cache, name) == block(name)


def in_processes(count: int, until: float, folder: Path, limit: int, names: int) -> list[multiprocessing.Process]:
    started = [multiprocessing.Process(target=_reader, args=(folder, limit, i, names, until)) for i in range(count)]
    for process in started:
        process.start()
    return started


def wait_for(done: Callable[[], bool]) -> None:
    end = time.time() + 60
    while not done() and time.time() < end:
        time.sleep(0.01)
    assert done()


def test_several_processes_keep_the_limit_together(tmp_path: Path) -> None:
    limit = 20 * LENGTH
    readers = in_processes(3, time.time() + 3, tmp_path, limit, names=60)
    wait_for((tmp_path / LOCK).exists)
    most = 0
    with (tmp_path / LOCK).open() as lock:
        while any(reader.is_alive() for reader in readers):
            fcntl.flock(lock, fcntl.LOCK_EX)  # nothing changes while it is counted
            most = max(most, sum(map(len, kept(tmp_path).values())))
            fcntl.flock(lock, fcntl.LOCK_UN)
            time.sleep(0.001)
    assert [reader.exitcode for reader in readers] == [0, 0, 0]
    assert 15 * LENGTH < most <= limit


def test_a_killed_process_leaves_whole_blocks(tmp_path: Path) -> None:
    generator, limit = random.Random(1), 20 * LENGTH
    for number in range(20):
        (victim,) = in_processes(1, time.time() + 60, tmp_path, limit, names=60)
        if number == 0:
            wait_for(lambda: len(os.listdir(tmp_path)) > 5)
        time.sleep(generator.uniform(0, 0.05))
        victim.kill()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        found = kept(tmp_path)
        assert all(content == block(name) for name, content in found.items())
        assert sum(map(len, found.values())) <= limit
    cache = BlockCache(tmp_path, limit)  # nothing is locked
    assert all(get(cache, f"{number}") == block(f"{number}") for number in range(60))
    assert sum(map(len, kept(tmp_path).values())) <= limit


@pytest.mark.parametrize("total", [b"", b"12", b"x" * 20, b"%020d" % (10**12)])
def test_a_wrong_count_is_put_right(tmp_path: Path, total: bytes) -> None:
    cache = BlockCache(tmp_path, 10 * LENGTH)
    for number in range(8):
        get(cache, f"{number}")
    (tmp_path / LOCK).write_bytes(total)
    for number in range(8, 30):
        get(cache, f"{number}")
    assert 8 * LENGTH <= sum(map(len, kept(tmp_path).values())) <= 10 * LENGTH


def test_a_shortened_file_is_fetched_again(tmp_path: Path) -> None:
    cache, loaded = BlockCache(tmp_path, 10 * LENGTH), list[str]()
    get(cache, "a")
    (tmp_path / "a").write_bytes(block("a")[:100])
    assert get(cache, "a", loaded) == block("a")
    assert (loaded, (tmp_path / "a").read_bytes()) == (["a"], block("a"))


def test_a_full_disk_keeps_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = BlockCache(tmp_path, 10 * LENGTH)
    monkeypatch.setattr(os, "replace", full)
    with caplog.at_level(logging.WARNING):
        assert get(cache, "a") == block("a")
    assert "not kept: No space left on device" in caplog.text
    assert not kept(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^store.cache: cannot write to .*file/blocks: "):
        BlockCache(tmp_path / "file" / "blocks", LENGTH)
