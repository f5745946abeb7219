"""Stretches in which sound stands still, found as the formula finds them, and the clips that they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips_media import RATE, Array, Writer, field, panorama

from avsa.clips.dropouts import Dropouts, longest
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.config import Clips

CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")


def stretches(sound_CS: Array, shortest: int) -> list[tuple[int, int]]:
    """From a stretch's first sample to the one after its last, by a loop over the samples."""
    found, begun = [], 0
    for n in range(1, sound_CS.shape[1] + 1):
        if n == sound_CS.shape[1] or any(channel[n] != channel[n - 1] for channel in sound_CS):
            if n - begun >= shortest:
                found.append((begun, n))
            begun = n
    return found


@pytest.mark.parametrize("seed", range(4))
def test_stretches_of_any_pieces(seed: int) -> None:
    """At 1000 samples a second ten are noted; pieces of any length, down to none, find what the whole finds."""
    random = np.random.default_rng(seed)
    sound_CS = random.integers(-2, 3, (4, 3000)).astype(np.float32)
    for begin in random.integers(0, 3000, 12):
        sound_CS[:, begin : begin + random.integers(2, 40)] = random.integers(-1, 2)
    dropouts, cuts = Dropouts(1000), np.sort(random.integers(0, 3000, 60))
    for begin, end in zip([0, *cuts], [*cuts, 3000], strict=True):
        dropouts.add(sound_CS[:, begin:end], int(begin))
    expected = [(begin / 1000, end / 1000) for begin, end in stretches(sound_CS, 10)]
    assert len(expected) > 2
    assert dropouts.finish() == expected


def test_what_was_left_out_is_no_stretch() -> None:
    """The same value before and after a gap of the timestamps; a stretch up to the end; one channel that goes on."""
    dropouts, one = Dropouts(1000), np.ones((4, 8), np.float32)
    dropouts.add(one, 0)
    dropouts.add(one, 100)
    assert dropouts.finish() == []
    dropouts = Dropouts(1000)
    dropouts.add(one, 0)
    dropouts.add(one, 8)
    assert dropouts.finish() == [(0.0, 0.016)]
    dropouts = Dropouts(1000)
    dropouts.add(np.concatenate([np.ones((3, 50)), np.arange(50.0)[None]]).astype(np.float32), 0)
    assert dropouts.finish() == []


def test_a_clip_counts_what_lies_in_it() -> None:
    spans = [(0.5, 1.25), (1.5, 1.75), (9.0, 20.0)]
    assert longest(spans, 0, 1) == 0.5
    assert longest(spans, 1, 2) == 0.25
    assert longest(spans, 2, 9) == 0
    assert longest(spans, 10, 12) == 2
    assert longest([], 0, 1) == 0


def refused(raw: Path, out: Path, config: Clips = CONFIG) -> list[dict[str, Any]]:
    ingest(raw, out, config, jobs=1)
    return [json.loads(line) for line in (out / "refused.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("value", [0.0, 0.125])
@pytest.mark.parametrize(("suffix", "codec", "rate"), [("wav", "pcm_s16le", 48000), ("flac", "flac", RATE)])
def test_only_the_clips_that_drop_out_are_refused(
    tmp_path: Path, suffix: str, codec: str, rate: int, value: float
) -> None:
    """Of four clips, the second has a hole of half a second, the third a tick of 50 ms, which is let pass."""
    sound_CS = field(8, rate=rate)
    sound_CS[:, round(2.5 * rate) : round(3.0 * rate)] = value
    sound_CS[:, round(5.0 * rate) : round(5.05 * rate)] = value
    Writer(tmp_path / "raw/a.mp4").add(panorama(128))
    Writer(tmp_path / f"raw/a.{suffix}").add(sound_CS=sound_CS, audio=codec, rate=rate, layout="quad")
    (entry,) = refused(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["start_s"], entry["threshold"]) == ("dropout", 2.0, 0.1)
    assert entry["figure"] == pytest.approx(0.5, abs=1e-4)
    clips = {clip.start_s: clip.checks.get("dropout_s") for clip in ClipStore(tmp_path / "out")}
    assert clips == {0.0: None, 4.0: pytest.approx(0.05, abs=1e-4), 6.0: None}
    allowed = CONFIG.model_copy(update={"checks": CONFIG.checks.model_copy(update={"max_dropout_s": 0.6})})
    assert refused(tmp_path / "raw", tmp_path / "out", allowed) == []


def test_silence_at_the_beginning_and_the_end_costs_those_clips(tmp_path: Path) -> None:
    sound_CS = field(8)
    sound_CS[:, : RATE // 2] = sound_CS[:, 7 * RATE :] = 0
    Writer(tmp_path / "raw/a.mkv").add(panorama(128), sound_CS, audio="flac", layout="quad")
    found = [(entry["check"], entry["start_s"]) for entry in refused(tmp_path / "raw", tmp_path / "out")]
    assert found == [("dropout", 0.0), ("dropout", 6.0)]


def test_sound_that_starts_a_little_late_does_not_drop_out(tmp_path: Path) -> None:
    """What stands before it was never recorded: `max_start_offset_s` is its limit."""
    Writer(tmp_path / "raw/a.mkv").add(
        panorama(64), field(3.7), audio="flac", layout="quad", start_s=0.0, sound_start_s=0.3
    )
    assert refused(tmp_path / "raw", tmp_path / "out") == []
    assert [clip.checks.get("dropout_s") for clip in ClipStore(tmp_path / "out")] == [None, None]
