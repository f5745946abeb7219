"""Kills, full disks, crashing decoders: nothing is half-written, nothing is lost, and the bytes come out the same."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from clips_media import Writer, field, panorama, store_bytes, write_recording

from avsa.clips import assemble
from avsa.clips.convert import Index
from avsa.clips.ingest import ingest
from avsa.clips.recordings import Recording, find_recordings
from avsa.clips.store import ClipStore
from avsa.clips.workers import convert_all
from avsa.config import Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=1.0, height=64, channel_order="acn-sn3d", shard_mb=0.6)
RECORDINGS = 8
KILLS = int(os.environ.get("AVSA_KILLS", "3"))  # random moments


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(RECORDINGS):
        write_recording(folder, f"r{number}", 2.0, sound_CS=field(2, seed=number))
    Writer(folder / "r3x.mp4").add(panorama(32))
    return folder


@pytest.fixture(scope="module")
def undisturbed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ingest(raw, out, CONFIG, jobs=1)
    return store_bytes(out)


def work_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


SCRIPT = """
import sys
from pathlib import Path
from avsa.clips import assemble, convert
from avsa.clips.ingest import ingest
from avsa.config import Clips
assemble._SAVE_S = float(sys.argv[5])
ingest(Path(sys.argv[1]), Path(sys.argv[2]), Clips.model_validate_json(sys.argv[3]), jobs=int(sys.argv[4]))
"""


def start(raw: Path, out: Path, jobs: int, save_s: float = 0.0) -> subprocess.Popen[bytes]:
    """An ingest in a process of its own, which leads a group with its pool."""
    command = [sys.executable, "-c", SCRIPT, str(raw), str(out), CONFIG.model_dump_json(), str(jobs), str(save_s)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("jobs", "kills"), [(1, [2, 5]), (2, [3])])
def test_killed_in_the_middle(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], jobs: int, kills: list[int]
) -> None:
    out = tmp_path / "out"
    journal = work_of(out) / "journal.jsonl"
    for wanted in kills:
        process = start(raw, out, jobs)
        try:
            while process.poll() is None:
                if journal.exists() and journal.read_bytes().count(b"\n") >= wanted:
                    break
                time.sleep(0.002)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
    summary = ingest(raw, out, CONFIG, jobs=jobs)
    assert kills[-1] <= summary.resumed < RECORDINGS + 1
    assert store_bytes(out) == undisturbed
    assert not work_of(out).exists()


@pytest.fixture(scope="module")
def lasts_s(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds from an ingest's first file to its end."""
    out = tmp_path_factory.mktemp("timed") / "out"
    process = start(raw, out, 2)
    wait_until_at_work(process, out)
    begun = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - begun


def wait_until_at_work(process: subprocess.Popen[bytes], out: Path) -> None:
    while process.poll() is None and not (work_of(out) / "lock").exists():
        time.sleep(0.002)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_a_random_moment(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], lasts_s: float, seed: int
) -> None:
    random = Random(seed)
    moment, save_s, pool_too = random.uniform(0, lasts_s), random.choice([0.0, 0.1, 2.0]), random.random() < 0.7
    out = tmp_path / "out"
    for part in (1, 2, 4, 8):  # an ingest that was faster than the first is killed earlier
        process = start(raw, out, 2, save_s)
        wait_until_at_work(process, out)
        time.sleep(moment / part)
        (os.killpg if pool_too else os.kill)(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            break
        shutil.rmtree(out)
    assert process.returncode == -signal.SIGKILL
    found = "a store" if (out / "manifest.jsonl").exists() else "no store"
    print(f"killed after {moment / part:.2f} of {lasts_s:.2f} s, {'with' if pool_too else 'without'} its pool: {found}")
    ingest(raw, out, CONFIG, jobs=2)
    assert store_bytes(out) == undisturbed


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_killed_while_the_files_move(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    out = tmp_path / "out"
    ingest(raw, out, CONFIG.model_copy(update={"crf": 40}), jobs=1)  # an older store, which is to be replaced
    replace, count = os.replace, 0

    def dying_replace(source: Path, target: Path) -> None:
        nonlocal count
        if Path(target).parent == out:
            if count == moved:
                raise KeyboardInterrupt
            count += 1
        replace(source, target)

    monkeypatch.setattr("avsa.clips.assemble.os.replace", dying_replace)
    with pytest.raises(KeyboardInterrupt):
        ingest(raw, out, CONFIG, jobs=1)
    monkeypatch.undo()
    with pytest.raises(UserError, match="no clip store"):
        ClipStore(out)
    summary = ingest(raw, out, CONFIG, jobs=1)
    assert summary.resumed == RECORDINGS + 1
    assert store_bytes(out) == undisturbed


def test_an_older_store_stays_until_the_new_one_is_complete(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    ingest(raw, out, CONFIG, jobs=1)
    add = assemble.Assembly.add

    def dying_add(self: assemble.Assembly, key: str, tar: Path, index: Path) -> assemble.Entry:
        if self.tally.recordings == 4:
            raise KeyboardInterrupt
        return add(self, key, tar, index)

    monkeypatch.setattr(assemble.Assembly, "add", dying_add)
    with pytest.raises(KeyboardInterrupt):
        ingest(raw, out, CONFIG.model_copy(update={"crf": 40}), jobs=1)
    assert store_bytes(out) == undisturbed


def test_changed_sources_are_not_taken_from_the_unfinished_run(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    out = tmp_path / "out"
    monkeypatch.setattr(assemble.Assembly, "finish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        ingest(own, out, CONFIG, jobs=1)
    monkeypatch.undo()
    write_recording(own, "r2", 2.0, sound_CS=field(2, seed=77))
    (own / "r5.mp4").unlink()
    (own / "r5.m4a").unlink()
    summary = ingest(own, out, CONFIG, jobs=1)
    assert summary.resumed == 2
    ingest(own, tmp_path / "fresh", CONFIG, jobs=1)
    assert store_bytes(out) == store_bytes(tmp_path / "fresh")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, which holds a part of the store."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2000k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("jobs", "inside"), [(1, True), (2, True), (1, False)])
def test_full_disk(raw: Path, small_disk: Path, undisturbed: dict[str, bytes], jobs: int, inside: bool) -> None:
    out = small_disk / "out" if inside else small_disk
    with pytest.raises(UserError, match=r"no space left for .*: nothing is lost, make room") as caught:
        ingest(raw, out, CONFIG, jobs=jobs)
    assert "\n" not in str(caught.value)
    assert {path.name for path in small_disk.iterdir()} <= {".out.partial", ".partial"}
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert ingest(raw, out, CONFIG, jobs=jobs).resumed > 0
    assert store_bytes(out) == undisturbed


def test_unwritable(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write the clip store .*file/out: Not a directory"):
        ingest(raw, tmp_path / "file/out", CONFIG, jobs=1)
    with pytest.raises(UserError, match=r"cannot write the clip store .*file: (File exists|Not a directory)"):
        ingest(raw, tmp_path / "file", CONFIG, jobs=1)
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_at_once(raw: Path, tmp_path: Path) -> None:
    work = work_of(tmp_path / "out")
    work.mkdir()
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another ingest is writing"):
            ingest(raw, tmp_path / "out", CONFIG, jobs=1)


@dataclass(frozen=True)
class Deadly:
    """A recording that ends the process that opens it, like a decoder's segmentation fault."""

    source: str
    split: str
    name: str
    refused: None = None

    @property
    def video(self) -> Path:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Endless(Deadly):
    """A recording that never comes to an end."""

    audio: None = None

    @property
    def video(self) -> Path:
        if sys._getframe(1).f_globals["__name__"] == "avsa.clips.convert":
            while True:
                time.sleep(60)
        return Path("bad.mp4")


@pytest.mark.parametrize(("bad", "patience_s"), [(Deadly, 300), (Endless, 4)])
def test_a_crash_costs_only_its_recording(raw: Path, tmp_path: Path, bad: type[Deadly], patience_s: float) -> None:
    good = find_recordings(raw)[:4]
    todo: list[tuple[str, Recording]] = [(str(number), recording) for number, recording in enumerate(good)]
    todo[2] = ("2", bad("bad.mp4", "train", "bad"))  # type: ignore[assignment]
    assert list(convert_all(todo, CONFIG, tmp_path, 2, patience_s)) == [key for key, _ in todo]
    results = [Index.model_validate(json.loads((tmp_path / f"{key}.json").read_text())) for key, _ in todo]
    assert [(entry.check, entry.source) for entry in results[2].refused] == [("crash", "bad.mp4")]
    assert [len(result.pieces) for result in results] == [2, 2, 0, 2]
    assert not list(tmp_path.glob("*.busy"))
