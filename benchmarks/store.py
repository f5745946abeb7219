"""A store of 100,000 clips: seconds to open it, bytes per clip in each worker, clips per second read at random.

Beside it, in the same run and on the same files: a list of all clips, parsed. Clips are small random bytes, four
members each, in shards of 1,000; they lie in the page cache. Seconds are the processor's, so that other work on the
machine does not count. Memory is the pages that a process has for itself (USS): what it gains by having the data set of
a loader, pickled or made by its parent, and by reading all clips. Of a forked worker it is the sum of what its parent
gains, which all workers share, and of what it adds. Of both, what 100,000 clips take more than 1,000 counts.
"""

from __future__ import annotations

import gc
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from avsa.clips.clip import Clip
from avsa.clips.shard import END, write_member
from avsa.clips.store import MANIFEST, ClipStore
from avsa.config import Views
from avsa.data.dataset import ClipExamples
from benchmarks import record

CLIPS, FEW, PER_SHARD, ROUNDS = 100_000, 1_000, 1_000, 5
CHECKS = {f"check_{number}": round(1.2345678 * number, 6) for number in range(11)}
SIZES = {"mp4": 700, "flac": 400, "segm.png": 100, "json": 60}


def main() -> None:
    """Measure and write four figures."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        print(f"writing {CLIPS:,} clips ...", flush=True)
        write_store(root)
        opened = [(seconds(lambda: ClipStore(root)), seconds(lambda: parsed(root))) for _ in range(ROUNDS)]
        record_of("store-open", "CPU seconds to open 100,000 clips", *map(statistics.median, zip(*opened, strict=True)))
        few = root / "few"
        few.mkdir()
        (few / MANIFEST).write_text("".join((root / MANIFEST).read_text().splitlines(keepends=True)[:FEW]))
        for way in (forked, spawned):
            ours, theirs = ((way(root, kind) - way(few, kind)) / (CLIPS - FEW) for kind in DATA_SETS)
            record_of(f"store-{way.__name__}", f"bytes per clip in each {way.__name__} worker", ours, theirs)
        store, plain = ClipStore(root), parsed(root)
        rates = [(reads(store.__getitem__, store), reads(plain.__getitem__, store)) for _ in range(ROUNDS)]
        record_of("store-reads", "clips/s, all members, one core", *map(statistics.median, zip(*rates, strict=True)))


def record_of(name: str, unit: str, value: float, baseline: float) -> None:
    """Write one of this benchmark's figures."""
    record.write(name, value, unit, baseline, value / baseline, benchmark="store")


def parsed(root: Path) -> list[Clip]:
    """All clips of a manifest."""
    return [Clip.model_validate_json(line) for line in (root / MANIFEST).read_text().splitlines()]


def examples(root: Path) -> ClipExamples:
    """What a loader sends to its workers."""
    return ClipExamples(ClipStore(root, "train"), Views(), seed=0, moments=1)


DATA_SETS: dict[str, Callable[[Path], Any]] = {"examples": examples, "parsed": parsed}


def write_store(root: Path) -> None:
    """Random bytes in the form of a store."""
    payload = np.random.default_rng(0).bytes(sum(SIZES.values()))
    with (root / MANIFEST).open("w") as manifest:
        for first in range(0, CLIPS, PER_SHARD):
            shard = f"shard-{first // PER_SHARD:05d}.tar"
            with (root / shard).open("wb") as tar:
                for number in range(first, first + PER_SHARD):
                    name = f"recording{number // 10:06d}-{number % 10:04d}"
                    members = {key: write_member(tar, f"{name}.{key}", payload[:n]) for key, n in SIZES.items()}
                    clip = Clip(
                        id=name,
                        source=f"train/recording{number // 10:06d}.mp4",
                        split="train",
                        start_s=10.0 * (number % 10),
                        duration_s=10.0,
                        width=960,
                        height=480,
                        fps=16.0,
                        frames=160,
                        sample_rate=24000,
                        shard=shard,
                        members=members,
                        checks=CHECKS,
                        label_fps=4.0,
                        sha256="0123456789abcdef" * 4,
                    )
                    manifest.write(clip.model_dump_json() + "\n")
                tar.write(END)


def seconds(action: Callable[[], object]) -> float:
    """The processor's time that it takes."""
    start = time.process_time()
    made = action()
    took = time.process_time() - start
    del made  # freeing it does not count
    return took


def reads(clip_at: Callable[[int], Clip], store: ClipStore) -> float:
    """Clips per second of the processor's time, with all their members."""
    chosen = np.random.default_rng(1).integers(0, CLIPS, 5_000).tolist()
    start = time.process_time()
    for number in chosen:
        clip = clip_at(number)
        for member in clip.members:
            store.read(clip, member)
    return len(chosen) / (time.process_time() - start)


def forked(root: Path, kind: str) -> float:
    """Bytes that a process gains by making the data set, and a forked child of it by reading all clips."""
    return float(_fresh(f"print(store.held_by_parent_and_child({str(root)!r}, {kind!r}))"))


def spawned(root: Path, kind: str) -> float:
    """Bytes that a new process gains by unpickling the data set and reading all clips."""
    return float(_fresh("print(store.held_after_unpickling())", pickle.dumps(DATA_SETS[kind](root))))


def held_by_parent_and_child(root: str, kind: str) -> int:
    """What `forked` measures, in a process of its own."""
    before = _memory()
    data = DATA_SETS[kind](Path(root))
    gc.collect()
    made = _memory() - before
    read, write = os.pipe()
    if not (child := os.fork()):
        before = _memory()
        _touch(data)
        os.write(write, str(_memory() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return made + int(os.read(read, 100))


def held_after_unpickling() -> int:
    """What `spawned` measures, in a process of its own."""
    payload = Path("/dev/stdin").read_bytes()
    before = _memory()
    data = pickle.loads(payload)
    _touch(data)
    return _memory() - before


def _touch(data: Any) -> None:
    clips = data if isinstance(data, list) else data.store
    for number in range(CLIPS):
        str(clips[number % len(clips)].id)


def _memory() -> int:
    return int(psutil.Process().memory_full_info().uss)


def _fresh(code: str, stdin: bytes = b"") -> bytes:
    command = [sys.executable, "-c", f"from benchmarks import store; {code}"]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
