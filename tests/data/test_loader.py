import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from data_clips import ordinary_clip, write_store

from avsa.clips.clip import Clip
from avsa.clips.store import MANIFEST, ClipStore
from avsa.config import Views
from avsa.data.batch import Batch
from avsa.data.loader import ClipLoader
from avsa.errors import UserError

VIEWS = Views(size=16, frames=3, audio_s=0.5, crops=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i) for i in range(10)])


def same(one: Batch, other: Batch) -> bool:
    return one.ids == other.ids and all(
        torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch) if f.name != "ids"
    )


def epochs(loader: ClipLoader, *which: int) -> list[Batch]:
    return [batch for epoch in which for batch in loader.epoch(epoch)]


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    assert all(same(a, b) for a, b in zip(some, others, strict=True))


def test_workers_change_nothing(store: ClipStore) -> None:
    """In every epoch of workers that live on; and what they send back is what was drawn."""
    arguments: dict[str, Any] = {"batch": 3, "seed": 4, "moments": 2, "repeats": 2}
    here = epochs(ClipLoader(store, VIEWS, **arguments), 0, 1)
    assert_same(epochs(ClipLoader(store, VIEWS, workers=2, **arguments), 0, 1), here)


def test_two_ranks_make_one_batch_together(store: ClipStore) -> None:
    arguments: dict[str, Any] = {"batch": 4, "seed": 1, "moments": 2}
    one = epochs(ClipLoader(store, VIEWS, **arguments), 3)
    ranks = [epochs(ClipLoader(store, VIEWS, rank=rank, world_size=2, **arguments), 3) for rank in range(2)]
    assert_same([Batch.concatenate(list(parts)) for parts in zip(*ranks, strict=True)], one)


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_goes_on_as_if_nothing_had_happened(store: ClipStore, workers: int) -> None:
    arguments: dict[str, Any] = {"batch": 3, "seed": 2, "repeats": 2}
    whole = epochs(ClipLoader(store, VIEWS, **arguments), 1, 2)
    loader = ClipLoader(store, VIEWS, workers=workers, **arguments)
    abandoned: Iterator[Batch] = loader.epoch(0)
    next(abandoned)
    for start in range(7):
        resumed = [*loader.epoch(1, start), *loader.epoch(2)]
        assert_same(resumed, whole[start:])


def test_skipped_steps_are_not_decoded(store: ClipStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = ClipStore.read

    def watched(self: ClipStore, clip: Clip, member: str) -> bytes:
        reads.append(clip.id)
        return read(self, clip, member)

    monkeypatch.setattr(ClipStore, "read", watched)
    batches = list(ClipLoader(store, VIEWS, batch=2).epoch(0, start_step=4))
    assert len(batches) == 1
    assert sorted(set(reads)) == sorted(batches[0].ids)


def test_training_passes_over_all_clips_in_another_order_each_time(store: ClipStore) -> None:
    loader = ClipLoader(store, VIEWS, batch=3, repeats=4)
    assert len(loader) == 12
    first, second = epochs(loader, 0), epochs(loader, 1)
    assert len(first) == 12
    passes = [[id_ for batch in first[i : i + 3] for id_ in batch.ids] for i in range(0, 12, 3)]
    assert all(len(set(ids)) == 9 for ids in passes)  # one of ten does not fill a batch
    assert len({tuple(ids) for ids in passes}) == 4
    assert [b.ids for b in first] != [b.ids for b in second]


def test_evaluation_sees_every_clip_in_order_and_each_view_is_another(store: ClipStore) -> None:
    loader = ClipLoader(store, VIEWS, batch=4, repeats=2, shuffle=False, drop_last=False)
    batches = epochs(loader, 0)
    assert [len(batch.ids) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert torch.cat([batch.clip_N for batch in batches]).tolist() == [*range(10), *range(10)]
    assert set(Counter(id_ for batch in batches for id_ in batch.ids).values()) == {2}
    assert not torch.equal(batches[0].azimuth_NK, batches[3].azimuth_NK)


def test_rows_of_a_clip_are_side_by_side(store: ClipStore) -> None:
    batch = next(ClipLoader(store, VIEWS, batch=2, moments=3).epoch(0))
    assert batch.moment_N.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.clip_N[:3].unique().numel() == batch.clip_N[3:].unique().numel() == 1
    assert [f"clip-{i}" for i in batch.clip_N.tolist()] == batch.ids
    assert not torch.equal(batch.y_NTHW[0], batch.y_NTHW[1])
    assert not torch.equal(batch.foa_NCS[0], batch.foa_NCS[1])


def test_closing_ends_the_workers_and_the_next_epoch_starts_new_ones(store: ClipStore) -> None:
    before_any = set(multiprocessing.active_children())  # of other tests
    loader = ClipLoader(store, VIEWS, batch=2, workers=2)
    before = epochs(loader, 0)
    own = set(multiprocessing.active_children()) - before_any
    assert len(own) == 2
    loader.close()
    assert not own & set(multiprocessing.active_children())
    assert_same(epochs(loader, 0), before)


def test_clips_of_one_recording_share_its_number(store: ClipStore, tmp_path: Path) -> None:
    names = ["a.mp4", "b.mp4", "a.mp4", "c.mp4", "b.mp4", *(f"{i}.mp4" for i in range(5))]
    clips = [clip.model_copy(update={"source": name}) for clip, name in zip(store, names, strict=True)]
    (tmp_path / MANIFEST).write_text("".join(clip.model_dump_json() + "\n" for clip in clips))
    (tmp_path / "shard-00000.tar").symlink_to(Path(store.root, "shard-00000.tar").absolute())
    loader = ClipLoader(ClipStore(tmp_path), VIEWS, batch=5, moments=2, shuffle=False)
    assert next(loader.epoch(0)).source_N.tolist() == [0, 0, 1, 1, 0, 0, 2, 2, 1, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clip_that_cannot_be_decoded_is_named(tmp_path: Path, workers: int) -> None:
    clips = [ordinary_clip(i) for i in range(3)]
    store = write_store(tmp_path, clips, damage={1: lambda mp4: mp4[:-200] + bytes(200)})
    with pytest.raises(UserError, match=r"^clip clip-1 in .*shard-00000.tar: .*; ingest it again$"):
        list(ClipLoader(store, VIEWS, batch=1, workers=workers).epoch(0))


def test_a_store_without_its_shard(tmp_path: Path) -> None:
    store = write_store(tmp_path, [ordinary_clip(0)])
    (tmp_path / "shard-00000.tar").unlink()
    with pytest.raises(UserError, match=r"shard-00000.tar: No such file"):
        list(ClipLoader(store, VIEWS, batch=1, workers=1).epoch(0))


def test_a_killed_worker_is_one_line(store: ClipStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipStore, "read", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match=r"^a decoding process was killed.*lower engine\.workers"):
        list(ClipLoader(store, VIEWS, batch=1, workers=1).epoch(0))


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def load_for_ever(store: ClipStore, voice: Connection) -> None:
    batches = ClipLoader(store, VIEWS, batch=1, workers=1).epoch(0)
    next(batches)
    voice.send([child.pid for child in multiprocessing.active_children()])
    time.sleep(600)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_end_with_a_process_that_is_killed(store: ClipStore, method: Any) -> None:
    """However it was started itself; also where it had no time to end them."""
    context = multiprocessing.get_context(method)
    ear, voice = context.Pipe(duplex=False)
    process = context.Process(target=load_for_ever, args=(store, voice))
    process.start()
    voice.close()
    (worker,) = ear.recv()
    assert alive(worker)
    process.kill()
    deadline = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < deadline, "the decoding process is still there"
        time.sleep(0.1)


def test_short_clips_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = write_store(tmp_path, [ordinary_clip(0), ordinary_clip(1, frames=4), ordinary_clip(2)])
    loader = ClipLoader(store, VIEWS, batch=1, moments=2, shuffle=False)
    assert [batch.ids[0] for batch in loader.epoch(0)] == ["clip-0", "clip-2"]
    assert "1 of 3 clips are too short" in caplog.text


def test_impossible_wishes(store: ClipStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 10 clips to train on, a batch takes 11: lower the batch"):
        ClipLoader(store, VIEWS, batch=11)
    with pytest.raises(UserError, match="batch of 3 clips cannot be shared equally by 2 ranks"):
        ClipLoader(store, VIEWS, batch=3, world_size=2)
    with pytest.raises(UserError, match=r"no clip .* long enough for 1 moment.* of 64 frames"):
        ClipLoader(store, Views(frames=64, audio_s=0.5), batch=1)
    mixed = write_store(tmp_path, [ordinary_clip(0), ordinary_clip(1, height=32)])
    with pytest.raises(UserError, match="clip clip-1 has width 64, clip clip-0 has 128"):
        ClipLoader(mixed, VIEWS, batch=1)
    with pytest.raises(UserError, match="no clips of split 'val'"):
        ClipLoader(ClipStore(store.root, "val"), VIEWS, batch=1)
