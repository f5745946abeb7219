"""Folders as people have them: names in other encodings, links that lead back, folders that cannot be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clips_media import write_recording

from avsa.clips.ingest import ingest
from avsa.clips.recordings import find_recordings
from avsa.clips.store import ClipStore
from avsa.config import Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=1.0, height=64, channel_order="acn-sn3d")


def test_a_name_in_another_encoding_is_refused_alone(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_recording(raw, "good", 1.0)
    odd = os.fsencode(raw) + b"/caf\xe9.mp4"
    try:
        Path(os.fsdecode(odd)).write_bytes((raw / "good.mp4").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    ingest(raw, tmp_path / "out", CONFIG, jobs=1)
    assert [clip.source for clip in ClipStore(tmp_path / "out")] == ["good.mp4"]
    (entry,) = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert (entry["source"], entry["check"]) == ("caf?.mp4", "media")
    assert entry["reason"] == "its name is not UTF-8: rename it"


def test_links_are_followed_but_not_back(tmp_path: Path) -> None:
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    write_recording(raw / "train", "a", 1.0)
    write_recording(elsewhere, "b", 1.0)
    (raw / "train/more").symlink_to(elsewhere)
    (raw / "train/back").symlink_to(raw)
    (elsewhere / "self").symlink_to(elsewhere)
    assert [one.source for one in find_recordings(raw)] == ["train/a.mp4", "train/more/b.mp4"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recording(tmp_path / "raw", "a", 1.0)
    (tmp_path / "raw/locked").mkdir()
    scandir = os.scandir

    def guarded(path: Any) -> Iterator[Any]:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"raw/locked cannot be read: Permission denied"):
        find_recordings(tmp_path / "raw")
