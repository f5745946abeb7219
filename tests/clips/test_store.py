"""The store's format: ordinary tar files, offsets that hold, and reading from workers."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clips_media import field, write_recording

from avsa.clips.clip import Clip
from avsa.clips.ingest import ingest
from avsa.clips.shard import write_member
from avsa.clips.store import ClipStore
from avsa.config import Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=1.0, height=64, channel_order="acn-sn3d", shard_mb=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for number in range(4):
        split = ("train", "val")[number // 3]
        write_recording(folder / "raw" / split, f"r{number}", 2.0, sound_CS=field(2, seed=number), truth={"n": number})
    ingest(folder / "raw", folder / "out", CONFIG, jobs=1)
    return folder / "out"


def test_offsets_are_those_of_the_tar(root: Path) -> None:
    store = ClipStore(root)
    shards = {clip.shard for clip in store}
    assert len(shards) > 1
    found = {}
    for shard in sorted(shards):
        assert (root / shard).stat().st_size <= 0.5e6
        with tarfile.open(root / shard) as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    assert len(found) == 3 * len(store) == 24
    for clip in store:
        for name in clip.members:
            assert store.read(clip, name) == found[f"{clip.id}.{name}"]


def test_members_of_a_clip_are_neighbours_with_one_stem(root: Path) -> None:
    """What WebDataset asks of a tar."""
    with tarfile.open(root / "shard-00000.tar") as archive:
        names = archive.getnames()
    assert len(names) % 3 == 0
    for start in range(0, len(names), 3):
        stems, suffixes = zip(*(name.split(".", 1) for name in names[start : start + 3]), strict=True)
        assert len(set(stems)) == 1
        assert suffixes == ("mp4", "flac", "json")


def test_splits(root: Path) -> None:
    assert [clip.source for clip in ClipStore(root, "val")] == ["val/r3.mp4"] * 2
    assert len(ClipStore(root, "train")) == 6
    assert len(ClipStore(root)) == 8
    assert ClipStore(root).truth(ClipStore(root)[7])["n"] == 3
    with pytest.raises(UserError, match=r"no clips of split 'test' in .*: it holds train, val"):
        ClipStore(root, "test")


def _read_in_worker(store: ClipStore) -> list[bytes]:
    return [store.read(clip, "flac") for clip in store]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reading_in_processes(root: Path, method: str) -> None:
    store = ClipStore(root)
    expected = _read_in_worker(store)  # the files are open before the fork
    if method == "spawn":
        assert _read_in_worker(pickle.loads(pickle.dumps(store))) == expected
        return
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(result == expected for result in pool.map(_read_in_worker, [store] * 4))


def test_reading_in_threads(root: Path) -> None:
    store = ClipStore(root)
    expected = _read_in_worker(store)
    store.close()
    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(_read_in_worker, [store] * 16))


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clip store at .*: run ingest"):
        ClipStore(tmp_path)
    store = ClipStore(root)
    with pytest.raises(UserError, match=r"has no segm.png: it has mp4, flac, json"):
        store.read(store[0], "segm.png")
    (tmp_path / "manifest.jsonl").write_text(store[0].model_dump_json() + "\n")
    moved = ClipStore(tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*shard-00000.tar: No such file"):
        moved.read(moved[0], "mp4")
    (tmp_path / "shard-00000.tar").write_bytes((root / "shard-00000.tar").read_bytes()[:2000])
    with pytest.raises(UserError, match="shorter than its manifest says"):
        moved.read(moved[0], "mp4")
    (tmp_path / "manifest.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(UserError, match="not a manifest of this version"):
        ClipStore(tmp_path)


def test_the_manifest_says_what_the_files_hold(root: Path) -> None:
    lines = (root / "manifest.jsonl").read_text().splitlines()
    clips = [Clip.model_validate_json(line) for line in lines]
    assert list(json.loads(lines[0])) == [name for name in Clip.model_fields if name != "origin"]  # which is not known
    assert [clip.id for clip in clips] == sorted(clip.id for clip in clips)
    first = clips[0]
    assert (first.width, first.height, first.fps, first.frames, first.sample_rate) == (128, 64, 16.0, 16, 24000)
    assert set(first.checks) >= {"rms_db", "spatial_db", "mono_correlation", "motion", "seam", "duration_gap_s"}


def test_a_member_is_what_tarfile_would_write() -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    for length in (0, 1, 511, 512, 513):
        assert write_member(ours, f"{length}.bin", bytes([7] * length))[1] == length
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for length in (0, 1, 511, 512, 513):
            info = tarfile.TarInfo(f"{length}.bin")
            info.size = length
            archive.addfile(info, io.BytesIO(bytes([7] * length)))
    assert theirs.getvalue().startswith(ours.getvalue())
