"""Whole videos with a list of segments: what is listed is cut, at the listed second."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips_media import Writer, decode_flac, decode_mp4, direction, field, panorama
from layouts import CONFIG, IDS, marked, merged, panoptic_pictures, write_maps
from PIL import Image

from avsa.ambisonics.foa import from_acn_sn3d
from avsa.clips.ingest import ingest
from avsa.clips.label_maps import count_maps, join_maps, read_map
from avsa.clips.recordings import find_recordings
from avsa.clips.sources.downloaded import read_orders, read_segments
from avsa.clips.store import ClipStore
from avsa.errors import UserError

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
SEGMENTS = SHARED / "yt360/segments.txt"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 7 s with the sound in it, marked at some times, and one of 3 s with the sound beside it."""
    raw = tmp_path_factory.mktemp("downloaded")
    frames, sound = marked(7.0, [1.5, 3.5, 4.75])
    Writer(raw / f"train/{IDS[0]}.mkv").add(frames, sound, audio="flac", layout="quad")
    frames, sound = marked(3.0, [0.5])
    Writer(raw / f"test/{IDS[1]}.mp4").add(frames)
    Writer(raw / f"test/{IDS[1]}.webm").add(sound_CS=sound, rate=24000, audio="libopus", layout="quad")
    return raw


def ingested(videos: Path, tmp_path: Path, segments: str) -> ClipStore:
    raw = tmp_path / "raw"
    shutil.copytree(videos, raw)
    (raw / "segments.txt").write_text(segments)
    ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=tmp_path / "lists")
    return ClipStore(tmp_path / "out")


def ledger(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "refused.jsonl").read_text().splitlines()]


def marks_s(store: ClipStore, index: int) -> tuple[float, float]:
    """Where a clip is brightest, and where it is loudest."""
    luma_THW = decode_mp4(store.read(store[index], "mp4"))
    foa_CS = decode_flac(store.read(store[index], "flac"))
    return float(luma_THW.mean(axis=(1, 2)).argmax()) / 16, float(np.abs(foa_CS[0]).argmax()) / 24000


def test_listed_seconds(videos: Path, tmp_path: Path) -> None:
    store = ingested(videos, tmp_path, f"{IDS[0]} 1,3,4.5\n{IDS[1]} 0\n")
    found = {clip.id: (clip.split, clip.origin, clip.start_s, clip.frames) for clip in store}
    assert found == {
        f"{IDS[0]}-1": ("train", IDS[0], 1.0, 32),
        f"{IDS[0]}-3": ("train", IDS[0], 3.0, 32),
        f"{IDS[0]}-4_5": ("train", IDS[0], 4.5, 32),  # overlaps the one before
        f"{IDS[1]}-0": ("test", IDS[1], 0.0, 32),
    }
    ids = [clip.id for clip in store]
    expected = {f"{IDS[0]}-1": 0.5, f"{IDS[0]}-3": 0.5, f"{IDS[0]}-4_5": 0.25, f"{IDS[1]}-0": 0.5}
    for clip_id, at_s in expected.items():
        picture_s, sound_s = marks_s(store, ids.index(clip_id))
        assert picture_s == at_s, clip_id
        assert sound_s == pytest.approx(at_s, abs=0.002), clip_id


def test_a_listed_clip_is_the_same_alone_and_among_others(videos: Path, tmp_path: Path) -> None:
    among = ingested(videos, tmp_path / "among", f"{IDS[0]} 1,2,3,4\n{IDS[1]} 0\n")
    alone = ingested(videos, tmp_path / "alone", f"{IDS[0]} 2\n{IDS[1]} 0\n")
    clips = {clip.id: clip for clip in among}
    for clip in alone:
        for member in ("mp4", "flac", "json"):
            assert alone.read(clip, member) == among.read(clips[clip.id], member)


def test_listed_and_back_to_back_clips_are_cut_alike(videos: Path, tmp_path: Path) -> None:
    listed = ingested(videos, tmp_path / "listed", f"{IDS[0]} 0,2,4\n")
    found = ingested(videos, tmp_path / "found", "somebody 5\n")
    cut = [clip for clip in found if clip.origin == IDS[0]]
    assert [clip.id for clip in cut] == [f"{IDS[0]}-000{number}" for number in range(3)]
    for ours, theirs in zip([clip for clip in listed if clip.origin == IDS[0]], cut, strict=True):
        assert ours.start_s == theirs.start_s
        assert listed.read(ours, "mp4") == found.read(theirs, "mp4")
        assert np.abs(decode_flac(listed.read(ours, "flac")) - decode_flac(found.read(theirs, "flac"))).max() < 2e-4


def test_segments_beyond_the_end_are_in_the_ledger(videos: Path, tmp_path: Path) -> None:
    store = ingested(videos, tmp_path, f"{IDS[0]} 1,5,5.5,40414\n{IDS[1]} 90\n")
    assert [clip.id for clip in store] == [f"{IDS[0]}-1", f"{IDS[0]}-5"]
    found = {(entry["source"], entry["start_s"]): entry for entry in ledger(tmp_path / "out")}
    assert set(found) == {(f"train/{IDS[0]}.mkv", 5.5), (f"train/{IDS[0]}.mkv", 40414), (f"test/{IDS[1]}.mp4", 90)}
    assert {entry["check"] for entry in found.values()} == {"segment"}
    assert found[f"train/{IDS[0]}.mkv", 5.5]["reason"] == "the listed 2 s end at 7.5 s, the recording at 7.00 s"


def test_a_picture_that_ends_before_the_listed_clip(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    frames, _ = marked(3.5, [0.5])
    _, sound = marked(4.2, [0.5])
    Writer(raw / f"train/{IDS[0]}.mkv").add(frames, sound, audio="flac", layout="quad")
    (raw / "segments.txt").write_text(f"{IDS[0]} 0,2\n")
    assert ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=raw).clips == 1
    (entry,) = ledger(tmp_path / "out")
    assert (entry["check"], entry["start_s"], entry["reason"][-19:]) == ("segment", 2.0, "recording at 3.50 s")


def test_published_label_maps_of_listed_clips(videos: Path, tmp_path: Path) -> None:
    pictures = panoptic_pictures(8, seed=3)
    raw = tmp_path / "raw"
    shutil.copytree(videos, raw)
    (raw / "segments.txt").write_text(f"{IDS[0]} 1,3,5\n")
    write_maps(raw / f"segmentation/{IDS[0]}-3", pictures)
    write_maps(raw / f"segmentation/{IDS[0]}-5", panoptic_pictures(5))
    ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=raw)
    store = ClipStore(tmp_path / "out")
    with_maps = [clip for clip in store if "segm.png" in clip.members]
    assert [clip.id for clip in with_maps] == [f"{IDS[0]}-3"]
    png = store.read(with_maps[0], "segm.png")
    assert count_maps(png) == 8
    for index in range(8):
        pair = pictures[f"things-{index:04d}.png"], pictures[f"stuff-{index:04d}.png"]
        np.testing.assert_array_equal(read_map(png, index), np.vectorize(merged)(*pair))
    assert [(entry["check"], entry["start_s"]) for entry in ledger(tmp_path / "out")] == [("labels", 5.0)]


@pytest.mark.parametrize("animated", [False, True])
def test_label_maps_of_a_whole_video(videos: Path, tmp_path: Path, animated: bool) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(videos, raw)
    maps_THW = np.arange(28, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 16), np.uint8)
    if animated:
        (raw / f"train/{IDS[0]}.segm.png").write_bytes(join_maps(maps_THW, 4.0))
    else:
        Image.fromarray(maps_THW.reshape(-1, 16)).save(raw / f"train/{IDS[0]}.segm.png")
    (raw / "classes.json").write_text('{"things": ["a"], "stuff": ["b"]}')
    (raw / "segments.txt").write_text(f"{IDS[0]} 1,4.5\n{IDS[1]} 0\n")
    ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=raw)
    store = ClipStore(tmp_path / "out")
    found = {}
    for clip in store:
        if "segm.png" in clip.members:
            png = store.read(clip, "segm.png")
            found[clip.start_s] = [int(read_map(png, index)[0, 0]) for index in range(count_maps(png))]
    assert found == {1.0: list(range(4, 12)), 4.5: list(range(18, 26))}
    assert store.beside("classes.json") == (raw / "classes.json").read_bytes()


@pytest.mark.parametrize("declared", [True, False])
def test_each_video_in_the_order_that_its_download_says(tmp_path: Path, declared: bool) -> None:
    """Six channels of AAC beside four, both of the same scene: the same directions in the store."""
    raw = tmp_path / "raw"
    foa_CS = field(3.0, rate=48000)
    six_CS = np.ascontiguousarray(from_acn_sn3d(foa_CS, "youtube-aac6"))
    Writer(raw / f"train/{IDS[0]}.mp4").add(panorama(48))
    Writer(raw / f"train/{IDS[0]}.m4a").add(sound_CS=six_CS, rate=48000, layout="5.1")
    Writer(raw / f"train/{IDS[1]}.mp4").add(panorama(48))
    Writer(raw / f"train/{IDS[1]}.flac").add(sound_CS=foa_CS, rate=48000, audio="flac", layout="quad")
    (raw / "segments.txt").write_text(f"{IDS[0]} 0\n{IDS[1]} 0\n")
    if declared:
        lines = [{"id": IDS[0], "channel_order": "acn-sn3d"}, {"id": IDS[0], "channel_order": "youtube-aac6"}]
        lines.append({"id": IDS[1], "channel_order": "acn-sn3d"})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (raw / "downloads.jsonl").write_text(text + '{"id": "torn')
    ingest(raw, tmp_path / "out", CONFIG.model_copy(update={"channel_order": "auto"}), jobs=1, lists=raw)
    store = ClipStore(tmp_path / "out")
    found = {clip.origin: direction(decode_flac(store.read(clip, "flac"))) for clip in store}
    if not declared:
        assert set(found) == {IDS[1]}
        assert [entry["check"] for entry in ledger(tmp_path / "out")] == ["channels"]
        return
    assert found[IDS[0]] == pytest.approx(direction(foa_CS), abs=1.5)
    assert found[IDS[1]] == pytest.approx(direction(foa_CS), abs=1.5)
    told = {clip.origin: store.truth(clip).get("channel_order") for clip in store}
    assert told == {IDS[0]: "youtube-aac6", IDS[1]: None}


def test_orders_of_a_ledger(tmp_path: Path) -> None:
    """An id's last line counts; a mirror's AAC with four channels may be in any order."""
    lines = [
        {"id": "a", "channel_order": "youtube-aac6", "files": [{"client": ""}]},
        {"id": "b", "channel_order": "youtube-aac4", "files": [{"client": "web"}, {"client": "web"}]},
        {"id": "c", "channel_order": "youtube-aac4", "files": [{"client": ""}]},
        {"id": "d", "channel_order": "youtube-aac6"},
        {"id": "d", "channel_order": "acn-sn3d"},
        {"id": "e", "channel_order": "shotgun"},
        {"id": "f", "state": "gone"},
        [],
    ]
    (tmp_path / "downloads.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_orders(tmp_path / "downloads.jsonl") == {"a": "youtube-aac6", "b": "youtube-aac4"}
    assert read_orders(tmp_path / "absent.jsonl") == {}


def test_an_id_in_two_splits(videos: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(videos, raw)
    shutil.copy(raw / f"train/{IDS[0]}.mkv", raw / f"test/{IDS[0]}.mkv")
    (raw / "segments.txt").write_text(f"{IDS[0]} 1\n")
    with pytest.raises(UserError, match=f"{IDS[0]} is in test and in train: remove it from one"):
        find_recordings(raw)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{IDS[0]} 54,sixty\n", "line 2: an id and seconds are expected .*'sixty'"),
        (f"{IDS[0]}\n", "line 2: an id and the seconds at which its clips start"),
        (f"{IDS[0]} -4\n", "line 2: an id and the seconds"),
        (f"{IDS[0]} nan\n", "line 2: an id and the seconds"),
        (f"{IDS[0]} inf\n", "line 2: an id and the seconds"),
        (f"{IDS[2]} 5\n", f"line 2: {IDS[2]} is there twice"),
    ],
)
def test_lines_that_are_no_segments(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "segments.txt").write_text(f"{IDS[2]} 54,68\n{line}")
    with pytest.raises(UserError, match=message) as caught:
        read_segments(tmp_path / "segments.txt")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "segments.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"segments.txt cannot be read: .*utf-8"):
        read_segments(tmp_path / "segments.txt")


@pytest.mark.skipif(not SEGMENTS.exists(), reason=f"the list of YT-360's segments is absent: {SEGMENTS}")
def test_the_published_segments() -> None:
    segments = read_segments(SEGMENTS)
    assert len(segments) == 5723
    assert sum(map(len, segments.values())) == 91176
    assert segments["yJtIK922yxg"] == (54, 68, 78, 96)
    assert min(b - a for starts in segments.values() for a, b in pairwise(starts)) >= 10
