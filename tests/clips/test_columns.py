"""What a large store costs: bytes in memory and between processes; and that clips are those of the manifest."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from avsa.clips.clip import Clip
from avsa.clips.store import MANIFEST, ClipStore
from avsa.errors import UserError

CLIPS = 100_000
TOUCHED = 5_000
LIMIT = 500  # bytes of memory per clip in each worker


def clip(number: int) -> Clip:
    """Ten clips of a recording, 170 in a shard, every tenth one for validation; lines of 640 bytes."""
    return Clip(
        id=f"recording{number // 10:06d}-{number % 10:04d}",
        source=f"train/recording{number // 10:06d}.mp4",
        split="val" if number % 10 == 9 else "train",
        start_s=10.0 * (number % 10),
        duration_s=10.0,
        width=960,
        height=480,
        fps=16.0,
        frames=160,
        sample_rate=24000,
        shard=f"shard-{number // 170:05d}.tar",
        members={
            "mp4": (512, 1234567),
            "flac": (2345678, 1234567),
            "segm.png": (3456789, 123),
            "json": (4567890, 1234),
        },
        checks={f"check_{index}": round(1.2345678 * index, 6) for index in range(11)},
        label_fps=4.0,
        sha256="0123456789abcdef" * 4,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 100,000 clips; the shards are never read."""
    root = tmp_path_factory.mktemp("large")
    line = clip(0).model_dump_json()
    split = line.replace("recording000000-0000", "{0}-{1}").replace("recording000000", "{0}")
    parts = split.replace("shard-00000", "{2}").replace('"start_s":0.0', '"start_s":{3}').replace('"train"', '"{4}"')
    form = parts.replace("{", "{{").replace("}", "}}")
    for field in range(5):
        form = form.replace(f"{{{{{field}}}}}", f"{{{field}}}")
    with (root / MANIFEST).open("w") as file:
        for number in range(CLIPS):
            recording, within = divmod(number, 10)
            values = f"recording{recording:06d}", f"{within:04d}", f"shard-{number // 170:05d}", 10.0 * within
            file.write(form.format(*values, "val" if within == 9 else "train") + "\n")
    return root


def memory() -> int:
    """Bytes that this process alone holds."""
    return int(psutil.Process().memory_full_info().uss)


def touch(store: ClipStore) -> None:
    generator = random.Random(0)
    for _ in range(TOUCHED):
        store[generator.randrange(len(store))]


def in_a_fork(measure: Callable[[], int]) -> int:
    """What a forked child measures."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(write, str(measure()).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return int(pipe.read())


def test_the_clips_are_those_of_the_manifest(root: Path) -> None:
    everything, train = ClipStore(root), ClipStore(root, "train")
    assert (len(everything), len(train)) == (CLIPS, 90_000)
    assert everything.splits == {"train": 90_000, "val": 10_000}
    for number in (0, 9, 10, 170, 54_321, CLIPS - 1):
        assert everything[number] == clip(number)
    assert everything[-1] == clip(CLIPS - 1)
    assert [train[i] for i in (8, 9, 89_999)] == [clip(8), clip(10), clip(99_998)]
    assert everything[169:172] == [clip(169), clip(170), clip(171)]
    assert train.columns["source"][[0, 8, 9, 89_999]].tolist() == [0, 0, 1, 9_999]
    assert everything.columns["shard"][[0, 169, 170, CLIPS - 1]].tolist() == [0, 0, 1, 588]
    assert everything.columns["frames"][[5, 77]].tolist() == [160, 160]
    with pytest.raises(IndexError):
        everything[CLIPS]


def test_what_a_worker_holds(root: Path) -> None:
    """A forked one: the columns, which it shares with its parent, and what it adds to them by reading clips."""
    store = ClipStore(root)

    def measure() -> int:
        before = memory()
        touch(store)
        return memory() - before

    added, shared = in_a_fork(measure), store.columns.rows.nbytes
    assert shared == 40 * CLIPS
    assert (shared + added) / CLIPS < LIMIT


def test_what_a_spawned_worker_is_sent_and_holds(root: Path, tmp_path: Path) -> None:
    pickled = pickle.dumps(ClipStore(root))
    assert len(pickled) / CLIPS < 45
    (tmp_path / "store").write_bytes(pickled)
    script = (
        "import pickle, random, psutil; from pathlib import Path; from avsa.clips.store import ClipStore\n"
        "def memory(): return psutil.Process().memory_full_info().uss\n"
        f"small = pickle.loads(Path({str(tmp_path / 'small')!r}).read_bytes()); small[0]\n"
        "before = memory()\n"
        f"store = pickle.loads(Path({str(tmp_path / 'store')!r}).read_bytes())\n"
        f"for _ in range({TOUCHED}): store[random.randrange(len(store))]\n"
        "print(memory() - before)"
    )
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / MANIFEST).write_text(clip(0).model_dump_json() + "\n")
    (tmp_path / "small").write_bytes(pickle.dumps(ClipStore(tmp_path / "few")))
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 40 <= int(told.stdout) / CLIPS < LIMIT


def test_a_manifest_that_changes_under_a_store(tmp_path: Path) -> None:
    def write(*numbers: int) -> None:
        (tmp_path / MANIFEST).write_text("".join(clip(number).model_dump_json() + "\n" for number in numbers))

    write(1, 2, 3)
    store = ClipStore(tmp_path)
    unread = pickle.loads(pickle.dumps(store))
    assert store[0] == clip(1)
    write(1, 4, 3)
    assert unread[0] == clip(1)
    with pytest.raises(UserError, match=r"manifest.jsonl has changed since it was opened: start again$"):
        unread[1]


@pytest.mark.parametrize("text", ["{", '{"id": "x"}\n', "\n", "\xff\n"])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(clip(1).model_dump_json() + "\n" + text, encoding="latin-1")
    with pytest.raises(UserError, match="not a manifest of this version"):
        ClipStore(tmp_path)


def test_a_last_line_without_an_end(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(clip(1).model_dump_json() + "\n" + clip(2).model_dump_json())
    assert list(ClipStore(tmp_path)) == [clip(1), clip(2)]


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    clips = [
        clip(n).model_copy(update={"shard": f"shard-{n:05d}.tar", "members": {"json": (0, 5)}}) for n in range(200)
    ]
    (tmp_path / MANIFEST).write_text("".join(one.model_dump_json() + "\n" for one in clips))
    for number, one in enumerate(clips):
        (tmp_path / one.shard).write_bytes(f"{number:05d}".encode())
    store = ClipStore(tmp_path)
    before = psutil.Process().num_fds()
    assert [store.read(one, "json") for one in store] == [f"{number:05d}".encode() for number in range(200)]
    assert psutil.Process().num_fds() - before <= 64
    store.close()
    assert psutil.Process().num_fds() <= before
