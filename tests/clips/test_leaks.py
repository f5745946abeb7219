"""Recordings on the other side of a test elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from clips_media import store_bytes, write_recording
from layouts import CONFIG, IDS

from avsa.clips.ingest import ingest
from avsa.clips.leaks import find_leaks
from avsa.clips.sources.layout import Recording
from avsa.clips.store import ClipStore
from avsa.errors import UserError

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
LISTS = SHARED / "yt360"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    write_recording(folder / "train", IDS[0], 2.0)
    write_recording(folder / "train", f"A film [{IDS[1]}]", 2.0)
    write_recording(folder / "test", IDS[2], 2.0)
    return folder


def lists_of(tmp_path: Path, **splits: str) -> Path:
    folder = tmp_path / "lists/other"
    folder.mkdir(parents=True)
    for split, lines in splits.items():
        (folder / f"{split}.txt").write_text(lines)
    return tmp_path / "lists"


def test_ids_in_another_sets_lists(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = lists_of(tmp_path, test=f"{IDS[1]}_17\nnobody\n{IDS[2]}\n", train=f"{IDS[0]}\n")
    summary = ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=lists)
    assert (summary.leaks, summary.clips, summary.refused) == (1, 3, {})
    assert [json.loads(line) for line in (tmp_path / "out/leaks.jsonl").read_text().splitlines()] == [
        {"origin": IDS[1], "split": "train", "other": (lists / "other").as_posix(), "other_split": "test"}
    ]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert line.startswith("warning: 1 id on the other side of a test in ")
    assert line.endswith(f"lists/other (test), such as {IDS[1]} (train here): clips.leaks=refuse leaves them out")


def test_leaks_can_be_refused(raw: Path, tmp_path: Path) -> None:
    lists = lists_of(tmp_path, test=f"{IDS[0]} some words\n", train=f"{IDS[2]}\n{IDS[1]}\n")
    refuse = CONFIG.model_copy(update={"leaks": "refuse"})
    summary = ingest(raw, tmp_path / "out", refuse, jobs=1, lists=lists)
    assert (summary.leaks, summary.refused) == (2, {"leak": 2})
    assert [clip.origin for clip in ClipStore(tmp_path / "out")] == [IDS[1]]
    entries = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert [(entry["source"], entry["reason"].split(" in ")[0]) for entry in entries] == [
        (f"test/{IDS[2]}.mp4", f"{IDS[2]}, test here, is train"),
        (f"train/{IDS[0]}.mp4", f"{IDS[0]}, train here, is test"),
    ]
    (raw / f"train/A film [{IDS[1]}].mp4").unlink()
    (raw / f"train/A film [{IDS[1]}].m4a").unlink()
    with pytest.raises(UserError, match=r"none of 2 recordings passes the checks, e.g. .* here, is "):
        ingest(raw, tmp_path / "out", refuse, jobs=1, lists=lists)


def test_ids_in_another_store(raw: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    ingest(raw, stores / "first", CONFIG, jobs=1, lists=tmp_path / "none")
    before = store_bytes(stores / "first")
    again = ingest(raw, stores / "first", CONFIG, jobs=1, lists=tmp_path / "none")
    assert again.leaks == 0  # of itself it knows nothing
    assert store_bytes(stores / "first") == before
    other = tmp_path / "other"
    write_recording(other / "test", f"{IDS[0]}_5", 2.0)
    write_recording(other / "train", IDS[1], 2.0)
    write_recording(other / "val", IDS[2], 2.0)
    assert ingest(other, stores / "second", CONFIG, jobs=1, lists=tmp_path / "none").leaks == 2
    found = [json.loads(line) for line in (stores / "second/leaks.jsonl").read_text().splitlines()]
    assert [(leak["origin"], leak["split"], leak["other"], leak["other_split"]) for leak in found] == [
        (IDS[2], "val", "first", "test"),
        (IDS[0], "test", "first", "train"),
    ]


def test_stores_of_other_versions_and_names_without_ids_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "stores/old").mkdir(parents=True)
    (tmp_path / "stores/old/manifest.jsonl").write_text(f'{{"id": 1}}\n{{"source": "{IDS[0]}.mp4", "split": "test"}}\n')
    (tmp_path / "stores/odd").mkdir()
    (tmp_path / "stores/odd/manifest.jsonl").write_text("[]\nnothing\n")
    ours = [
        Recording(source="a.mp4", split="train", name="a", video=None),
        Recording(source="b.mp4", split="train", name="b", video=None, origin=IDS[0]),
    ]
    assert find_leaks(ours, tmp_path / "lists", tmp_path / "stores", tmp_path / "stores/own") == []


@pytest.mark.skipif(not LISTS.exists(), reason=f"the lists of YT-360 are absent: {LISTS}")
def test_the_test_videos_of_yt360(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/yt360").symlink_to(LISTS.resolve())
    tested, trained = (set((LISTS / f"{split}.txt").read_text().split()) for split in ("test", "train"))
    ours = [
        Recording(source=f"{origin}.webm", split="train", name=origin, video=None, origin=origin)
        for origin in sorted(tested | trained)
    ]
    leaks = find_leaks(ours, tmp_path / "lists", tmp_path / "stores", tmp_path / "stores/own")
    assert {leak.origin for leak in leaks} == tested
    assert len(leaks) == 1000
