"""Kept features: the same bits, made once, within a limit, whatever happens to the files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avsa.data.feature_cache import ABANDONED_S, FeatureCache


class Made:
    """Tensors of 4 kB that differ with every making, which is counted and takes a moment."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Tensor]:
        self.times += 1
        time.sleep(0.02)
        generator = torch.Generator().manual_seed(self.times)
        return {"video_RKD": torch.randn(10, 4, 25, generator=generator), "source_R": torch.arange(10)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_what_was_made_once_is_kept_to_the_bit(tmp_path: Path) -> None:
    make, cache = Made(), FeatureCache(tmp_path / "runs" / "features", 1e6)
    first, second = cache.fetch("a", make), cache.fetch("a", make)
    assert make.times == 1
    assert (first.kept, second.kept) == (False, True)
    assert same(first.tensors, second.tensors)
    assert first.saved == 0
    assert first.seconds >= 0.02
    assert second.saved == pytest.approx(first.seconds - second.seconds)
    other = cache.fetch("b", make)
    assert make.times == 2
    assert not same(first.tensors, other.tensors)


@pytest.mark.parametrize("damage", ["short", "bit", "empty", "text", "other"])
def test_a_damaged_file_is_made_again_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    make, cache = Made(), FeatureCache(tmp_path, 1e6)
    cache.fetch("a", make)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "short": whole[:middle],
            "bit": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :],
            "empty": b"",
            "text": b"features",
            "other": whole.replace(b"seconds", b"minutes"),
        }[damage]
    )
    capsys.readouterr()
    again = cache.fetch("a", make)
    assert not again.kept
    assert make.times == 2
    line = capsys.readouterr().out
    assert f"{path}: damaged (" in line
    assert line.count("\n") == 1
    assert same(cache.fetch("a", make).tensors, again.tensors)
    assert make.times == 2


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    make = Made()
    FeatureCache(tmp_path, 1e6).fetch("a", make)
    cache = FeatureCache(tmp_path, 3.5 * (tmp_path / "a.npz").stat().st_size)
    for age, key in enumerate("abc"):
        cache.fetch(key, make)
        os.utime(tmp_path / f"{key}.npz", (1e9 + age, 1e9 + age))
    assert cache.fetch("a", make).kept
    cache.fetch("d", make)
    assert names(tmp_path) == {"a", "c", "d"}


def test_more_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    for limit in (0.0, 3000.0):
        make, cache = Made(), FeatureCache(tmp_path / "features", limit)
        assert not cache.fetch("a", make).kept
        assert not cache.fetch("a", make).kept
        assert make.times == 2
        assert not (tmp_path / "features").exists()


def test_what_a_killed_process_left_is_removed_in_time(tmp_path: Path) -> None:
    old, young = tmp_path / ".x.1.tmp", tmp_path / ".y.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * ABANDONED_S,) * 2)
    FeatureCache(tmp_path, 1e6).fetch("a", Made())
    assert names(tmp_path) == {"a", ".y.2"}


def test_a_place_that_cannot_be_written_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("a file")
    fetched = FeatureCache(tmp_path / "runs" / "features", 1e6).fetch("a", Made())
    assert not fetched.kept
    assert fetched.tensors["source_R"].tolist() == list(range(10))
    assert "not kept: Not a directory" in capsys.readouterr().out


def test_several_at_once(tmp_path: Path) -> None:
    """Readers, writers and a limit that removes files under them: nobody fails, nobody gets half a file."""
    faults: list[str] = []

    def work(worker: int) -> None:
        for i in range(12):
            seed = (worker + i) % 4
            expected = torch.full((1000,), float(seed))
            try:
                found = FeatureCache(tmp_path, 14_000).fetch(str(seed), lambda x=expected: {"x": x})  # type: ignore[misc]
            except Exception as error:
                faults.append(repr(error))
                continue
            if not torch.equal(found.tensors["x"], expected):
                faults.append(f"{seed}: {found.tensors['x'][:3]}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 14_000
