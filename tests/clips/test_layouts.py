"""Which layout a folder has, and the layouts of STARSS23 and Sphere360."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from clips_media import Writer, decode_flac, decode_mp4, direction, write_recording
from layouts import CONFIG, IDS, marked, write_pair, write_yt360

from avsa.clips.ingest import ingest
from avsa.clips.ledger import RefusedError
from avsa.clips.recordings import LAYOUTS, find_recordings, list_recordings
from avsa.clips.sources.layout import youtube_id
from avsa.clips.sources.starss23 import CLASSES, read_metadata
from avsa.clips.store import ClipStore
from avsa.errors import UserError
from avsa.report.scenes import sounding


def test_ids_in_names() -> None:
    (own,) = {youtube_id(stem) for stem in (IDS[0], f"{IDS[0]}-54", f"{IDS[0]}_7", f"A title (360°) [{IDS[0]}]")}
    assert own == IDS[0]
    # 64 bits leave the last character of base 64 four of them
    for stem in ("train-00004", "yJtIK922yxz", "yJtIK922yxgg", "scene", f"{IDS[0]}-5-4", f"{IDS[0]} copy"):
        assert youtube_id(stem) == "", stem


def make_starss23(raw: Path) -> None:
    """Two recordings of 4 s; a source moves by 3° in each 100 ms, another one is there in between."""
    for group, name in (("dev-train-sony", "fold3_room21_mix001"), ("dev-test-tau", "fold4_room2_mix009")):
        write_pair(raw / f"video_dev/{group}/{name}.mp4", raw / f"foa_dev/{group}/{name}.wav", 4.0, [0.5, 2.5])
        lines = [f"{frame},8,0,{-170 + 3 * frame},-20,150" for frame in range(2, 36)]
        lines += [f"{frame},1,2,90,45,80" for frame in range(5, 9)]
        path = raw / f"metadata_dev/{group}/{name}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")


def test_starss23(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    make_starss23(raw)
    summary = ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=tmp_path)
    assert (summary.splits, summary.refused) == ({"train": 2, "test": 2}, {})
    store = ClipStore(tmp_path / "out")
    assert [(clip.id, clip.split, clip.origin) for clip in store][:3] == [
        ("fold4_room2_mix009-0000", "test", "fold4_room2_mix009"),
        ("fold4_room2_mix009-0001", "test", "fold4_room2_mix009"),
        ("fold3_room21_mix001-0000", "train", "fold3_room21_mix001"),
    ]
    for number, clip in enumerate(list(store)[:2]):
        assert decode_mp4(store.read(clip, "mp4")).mean(axis=(1, 2)).argmax() == 8
        assert direction(decode_flac(store.read(clip, "flac"))) == pytest.approx((50, 20), abs=1)
        truth = store.truth(clip)
        frames = range(20 * number, min(20 * number + 20, 37))
        assert truth["time_s"] == pytest.approx([frame / 10 - 2 * number for frame in frames])
        music = truth["objects"][-1]
        assert (music["class"], music["class_id"], music["sounding"]) == ("music", 8, True)
        for index, frame in enumerate(frames):
            if 2 <= frame < 36:
                assert music["azimuth"][index] == pytest.approx(math.radians(-170 + 3 * frame), abs=1e-5)
                assert music["elevation"][index] == pytest.approx(math.radians(-20), abs=1e-5)
                assert music["distance_m"][index] == 1.5
            else:
                assert music["azimuth"][index] is None
        assert [item["class"] for item in truth["objects"]] == [["male speech", "music"], ["music"]][number]
    found = sounding(store.truth(store[0]), 0.62)
    assert found is not None
    assert [(one.name, round(math.degrees(one.azimuth))) for one in found] == [("male speech", 90), ("music", -152)]
    assert sounding(store.truth(store[0]), 0.1) == ()
    assert sounding(store.truth(store[1]), 1.95) == ()  # after the metadata's end
    assert len(CLASSES) == 13


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3,8,0,170", "line 2: 4 columns; expected are frame, class"),
        ("3,8,0,170,10,100,5", "line 2: 7 columns"),
        ("3,music,0,170,10", "line 2: whole numbers are expected: 3,music"),
        ("3,13,0,170,10", "line 2: no frame, class or direction"),
        ("3,8,0,190,10", "line 2: no frame, class or direction"),
        ("3,8,0,170,91", "line 2: no frame, class or direction"),
        ("-1,8,0,170,10", "line 2: no frame, class or direction"),
        ("frame,class,source,azimuth,elevation", "line 2: whole numbers"),
    ],
)
def test_metadata_with_wrong_columns(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "x.csv").write_text(f"2,8,0,170,10\n{line}\n")
    with pytest.raises(RefusedError, match=reason) as caught:
        read_metadata(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


def test_damaged_metadata_and_missing_video_are_in_the_ledger(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    make_starss23(raw)
    (raw / "metadata_dev/dev-test-tau/fold4_room2_mix009.csv").write_text("1,2,3\n")
    (raw / "metadata_dev/dev-train-sony/fold3_room21_mix001.csv").write_text("")
    _, sound = marked(2.0, [0.5])
    Writer(raw / "foa_dev/dev-train-sony/fold3_room4_mix002.wav").add(sound_CS=sound, audio="pcm_s16le", layout="quad")
    assert ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=tmp_path).clips == 2
    store = ClipStore(tmp_path / "out")
    assert store.truth(store[0])["objects"] == []
    entries = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert [(Path(entry["source"]).name, entry["check"]) for entry in entries] == [
        ("fold3_room4_mix002.wav", "video"),
        ("fold4_room2_mix009.mp4", "truth"),
    ]
    assert "fold4_room2_mix009.csv, line 1: 3 columns" in entries[1]["reason"]


def test_sphere360_cuts_the_listed_seconds_of_whole_videos(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_pair(raw / f"train/video/000/{IDS[0]}.webm", raw / f"train/audio/000/{IDS[0]}.webm", 5.0, [0.5, 3.25])
    write_pair(raw / f"test/video/000/{IDS[1]}.webm", raw / f"test/audio/000/{IDS[1]}.webm", 2.5, [0.75])
    write_pair(raw / f"train/video/000/{IDS[2]}.webm", raw / f"train/audio/000/{IDS[2]}.webm", 2.0, [0.5])
    lists = raw / "dataset/split"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(f"{IDS[0]}_3\n{IDS[0]}_0\n{IDS[0]}_40\n")
    (lists / "test.txt").write_text(f"{IDS[1]}_0\n")
    summary = ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=tmp_path)
    assert summary.refused == {"segment": 1, "split": 1}
    store = ClipStore(tmp_path / "out")
    expected = {f"{IDS[0]}-0": ("train", 0.5), f"{IDS[0]}-3": ("train", 0.25), f"{IDS[1]}-0": ("test", 0.75)}
    assert {clip.id: clip.split for clip in store} == {name: split for name, (split, _) in expected.items()}
    for clip in store:
        foa_CS = decode_flac(store.read(clip, "flac"))
        assert decode_mp4(store.read(clip, "mp4")).mean(axis=(1, 2)).argmax() == 16 * expected[clip.id][1]
        assert np.abs(foa_CS[0]).argmax() / 24000 == pytest.approx(expected[clip.id][1], abs=0.002)
        assert direction(foa_CS) == pytest.approx((50, 20), abs=3)


def test_sphere360_as_clips(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_pair(raw / f"{IDS[0]}_17.mp4", raw / f"{IDS[0]}_17.webm", 2.0, [0.5])
    write_pair(raw / f"{IDS[0]}_18.mp4", raw / f"{IDS[0]}_18.webm", 2.0, [0.5])
    (raw / "test.txt").write_text(f"{IDS[0]}_17\n{IDS[1]}_4\n")
    found = {Path(one.source).stem: one for one in find_recordings(raw)}
    assert (found[f"{IDS[0]}_17"].split, found[f"{IDS[0]}_17"].origin) == ("test", IDS[0])
    assert found[f"{IDS[0]}_17"].audio == raw / f"{IDS[0]}_17.webm"
    refusal = found[f"{IDS[0]}_18"].refused
    assert refusal is not None
    assert refusal.reason == f"{IDS[0]}_18 is in no split's list"
    assert ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=tmp_path).splits == {"test": 1}
    (raw / "train.txt").write_text(f"{IDS[0]}_90\n")
    with pytest.raises(UserError, match=f"{IDS[0]} is in train and in test"):
        find_recordings(raw)
    (raw / "train.txt").write_text(f"{IDS[2]}_90\nno clip\n")
    with pytest.raises(UserError, match=r"train.txt, line 2: a clip ID_START such as"):
        find_recordings(raw)


def test_layouts_are_recognised_and_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_yt360(tmp_path / "yt360")
    make_starss23(tmp_path / "starss23")
    for split in ("train", "test"):
        write_recording(tmp_path / "folder" / split, f"{split}-one", 2.0)
        write_recording(tmp_path / "downloaded" / split, IDS[split == "test"], 2.0)
        (tmp_path / "sphere360").mkdir(exist_ok=True)
        (tmp_path / f"sphere360/{split}.txt").write_text(f"{IDS[split == 'test']}_5\n")
    (tmp_path / "downloaded/segments.txt").write_text(f"{IDS[0]} 0\n")
    write_recording(tmp_path / "sphere360", IDS[0], 2.0)
    for name in LAYOUTS:
        listing = list_recordings(tmp_path / name)
        assert listing.layout.name == name
        assert listing.describe().startswith(f"layout {name} (")
    assert list_recordings(tmp_path / "yt360").describe().endswith("3 recordings, train 2, test 1")
    forced = list_recordings(tmp_path / "downloaded", "folder").recordings
    assert [(one.segments, one.split) for one in forced] == [(None, "test"), (None, "train")]
    with pytest.raises(UserError, match=r"no recording in .*, which is read as layout starss23: folders foa_dev"):
        list_recordings(tmp_path / "folder", "starss23")
    chosen = CONFIG.model_copy(update={"layout": "folder"})
    ingest(tmp_path / "downloaded", tmp_path / "out", chosen, jobs=1, lists=tmp_path)
    assert "downloaded: layout folder (360° videos with their sound" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_layout_forced_on_an_empty_folder_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        list_recordings(tmp_path, name, tmp_path / "lists")
    assert "\n" not in str(caught.value)
