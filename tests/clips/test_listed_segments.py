"""Which windows of a recording become clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips_media import RATE, Array, Writer, decode_flac, field, panorama

from avsa.clips.ingest import ingest
from avsa.clips.ledger import RefusedError
from avsa.clips.segments import plan
from avsa.clips.store import ClipStore
from avsa.config import Clips
from avsa.config.data import Segments

LOUD = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d", segments=Segments(rule="loud", min_db=-30))


def sound_of(levels_db: list[float]) -> Array:
    """A sound field whose W has the given level in each second, 4×S."""
    foa_CS = field(len(levels_db))
    for second, level in enumerate(levels_db):
        part = foa_CS[:, second * RATE : (second + 1) * RATE]
        part *= 10 ** (level / 20) / np.sqrt((part[0] ** 2).mean())
    return foa_CS


def slow_windows(levels_db: list[float], min_db: float, seconds: int) -> list[int]:
    """First come, first served: the earliest window that is loud and touches none before."""
    chosen: list[int] = []
    for start in range(len(levels_db) - seconds + 1):
        power = sum(10 ** (level / 10) for level in levels_db[start : start + seconds]) / seconds
        if 10 * np.log10(power) >= min_db and (not chosen or start >= chosen[-1] + seconds):
            chosen.append(start)
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_loud_windows(seed: int) -> None:
    levels = np.random.default_rng(seed).choice([-60.0, -40.0, -29.0, -20.0], 14).tolist()
    found = plan(None, sound_of(levels), LOUD)
    assert [window.first / 16 for window in found.cut] == slow_windows(levels, -30, 2)
    assert [window.name for window in found.cut] == [str(start) for start in slow_windows(levels, -30, 2)]
    assert found.until == found.cut[-1].first + 32


def test_loud_windows_become_clips_and_quiet_recordings_none(tmp_path: Path) -> None:
    for name, levels in (("a", [-60, -60, -60, -20, -20, -60, -20]), ("b", [-50] * 5)):
        Writer(tmp_path / f"raw/{name}.mkv").add(
            panorama(16 * len(levels)), sound_of([float(level) for level in levels]), audio="flac", layout="quad"
        )
    ingest(tmp_path / "raw", tmp_path / "out", LOUD, jobs=1)
    store = ClipStore(tmp_path / "out")
    assert [(clip.id, clip.start_s, clip.frames) for clip in store] == [("a-2", 2.0, 32), ("a-4", 4.0, 32)]
    for clip, (first, second) in zip(store, ((-60, -20), (-20, -60)), strict=True):
        w_S = decode_flac(store.read(clip, "flac"))[0]
        for level, part in ((first, w_S[:RATE]), (second, w_S[RATE:])):
            assert 10 * np.log10((part**2).mean()) == pytest.approx(level, abs=0.5)
    entry = json.loads((tmp_path / "out/refused.jsonl").read_text())
    assert (entry["source"], entry["check"], entry["threshold"]) == ("b.mkv", "loud", -30)
    assert entry["figure"] == pytest.approx(-50, abs=0.1)


def test_nothing_is_loud() -> None:
    with pytest.raises(RefusedError, match="no 2 s of it are louder than -30 dB"):
        plan(None, sound_of([-40.0] * 4), LOUD)


@pytest.mark.parametrize(
    ("samples", "windows", "until"),
    [(0.5, [0], 8), (2.0, [0], 32), (1.95, [0], 32), (3.9, [0, 32], 64), (4.0, [0, 32], 64), (5.7, [0, 32], 64)],
)
def test_back_to_back(samples: float, windows: list[int], until: int) -> None:
    config = Clips(clip_s=2.0)
    found = plan(None, np.zeros((4, round(samples * config.sample_rate)), np.float32), config)
    assert ([window.first for window in found.cut], found.until, found.late) == (windows, until, [])
    assert [window.may_be_short for window in found.cut] == [True, False][: len(windows)]


def test_listed_windows_begin_at_the_nearest_frame() -> None:
    config = Clips(clip_s=2.0, fps=30000 / 1001)
    found = plan((0.0, 1.0, 3.3, 4.2, 9.0), np.zeros((4, 6 * config.sample_rate), np.float32), config)
    assert [window.first for window in found.cut] == [round(start * 30000 / 1001) for start in (0, 1, 3.3)]
    assert [window.listed for window in found.late] == [3, 4]
    assert [window.name for window in found.cut] == ["0", "1", "3_3"]
