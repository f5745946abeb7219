"""Every kind of bad input ends in the ledger with the check that caught it, and the good recordings beside it pass."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips_media import Array, Writer, decode_flac, decode_mp4, field, noise, panorama, plane_wave, write_recording

from avsa.clips.ingest import ingest
from avsa.clips.recordings import find_recordings
from avsa.clips.store import ClipStore
from avsa.config import Checks, Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")


def refusals(raw: Path, out: Path, config: Clips = CONFIG) -> list[dict[str, Any]]:
    """Ingest `raw` together with one good recording and return the ledger."""
    write_recording(raw, "good")
    ingest(raw, out, config, jobs=1)
    assert [clip.source for clip in ClipStore(out)] == ["good.mp4"]
    return [json.loads(line) for line in (out / "refused.jsonl").read_text().splitlines()]


def refusal(raw: Path, out: Path, config: Clips = CONFIG) -> dict[str, Any]:
    (entry,) = refusals(raw, out, config)
    return entry


@pytest.mark.parametrize(
    ("channels", "layout"), [(1, "mono"), (2, "stereo"), (3, "3.0"), (6, "5.1")], ids=["mono", "stereo", "three", "six"]
)
def test_wrong_number_of_channels(tmp_path: Path, channels: int, layout: str) -> None:
    sound = np.stack([noise(2, seed=i) for i in range(channels)])
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32), sound, layout=layout)
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["figure"], entry["threshold"]) == ("channels", channels, 4)
    assert entry["source"] == "bad.mp4"
    assert f"{channels} channel" in entry["reason"]


def test_four_channels_where_six_are_declared(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32), field(2))
    with pytest.raises(UserError, match=r"none of 1 recordings passes the checks, .* has 4 channels, not 6"):
        ingest(tmp_path / "raw", tmp_path / "out", CONFIG.model_copy(update={"channel_order": "youtube-aac6"}), jobs=1)


def test_no_audio(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32))
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["reason"]) == ("audio", "bad.mp4 has no audio stream")


def test_no_video(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(sound_CS=field(2))
    assert refusal(tmp_path / "raw", tmp_path / "out")["reason"] == "bad.mp4 has no video stream"


def test_sound_without_a_video_beside_it(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.wav").add(sound_CS=field(2), audio="pcm_s16le", layout="quad")
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["source"]) == ("video", "bad.wav")


@pytest.mark.parametrize("content", [b"", b"these are words, not pictures\n" * 99], ids=["empty", "text"])
def test_not_a_media_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/bad.mp4").write_bytes(content)
    assert refusal(tmp_path / "raw", tmp_path / "out")["check"] == "media"


def test_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/bad.mp4").symlink_to(tmp_path / "gone.mp4")
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "media"
    assert "No such file" in entry["reason"]


def test_truncated_mp4_without_index(tmp_path: Path) -> None:
    video = write_recording(tmp_path / "raw", "bad")
    video.write_bytes(video.read_bytes()[:-500])
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "media"
    assert "truncated or damaged mp4" in entry["reason"]


def test_truncated_mp4_with_index(tmp_path: Path) -> None:
    video = write_recording(tmp_path / "raw", "bad")
    fast = av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"})
    with av.open(str(video)) as source, fast as to:
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                to.mux(packet)
    payload = (tmp_path / "fast.mp4").read_bytes()
    video.write_bytes(payload[: len(payload) * 2 // 3])
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "truncated"
    assert entry["figure"] > entry["threshold"] == CONFIG.checks.max_missing_s


def test_undecodable_frames_cost_only_their_clip(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/long.mp4").add(panorama(128), field(8), options={"g": "16", "bf": "0"})
    path = tmp_path / "raw/long.mp4"
    container: Any
    with av.open(str(path)) as container:
        places = [(p.pos, p.size, float(p.pts * p.time_base)) for p in container.demux(video=0) if p.size]
    payload = bytearray(path.read_bytes())
    for position, size, time_s in places:
        if 2.5 <= time_s < 2.9:
            payload[position + 5 : position + size] = bytes(range(1, 250))[: size - 5].ljust(size - 5, b"\x55")
    path.write_bytes(payload)
    write_recording(tmp_path / "raw", "other")
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    assert [clip.id for clip in ClipStore(tmp_path / "out")] == ["long-0000", "long-0002", "long-0003", "other-0000"]
    (entry,) = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert (entry["check"], entry["start_s"]) == ("decode", 2.0)


@pytest.mark.parametrize("missing", ["picture", "sound"])
def test_a_gap_costs_the_clips_that_it_touches(tmp_path: Path, missing: str) -> None:
    """The gap lasts from 2.5 s to 7 s: the clips from 2, 4 and 6 s go, the one from 8 s stays in its place."""
    frames, sound = panorama(160, flash=(9 * 16,)), field(10)
    sound[:, 9 * 24000] = plane_wave(np.ones(1, np.float32), 0, 0)[:, 0]
    Writer(tmp_path / "whole.mkv").add(frames, sound, audio="flac", layout="quad", options={"g": "8", "bf": "0"})
    container: Any
    (tmp_path / "raw").mkdir()
    kind = {"picture": "video", "sound": "audio"}[missing]
    with av.open(str(tmp_path / "whole.mkv")) as container, av.open(str(tmp_path / "raw/gap.mkv"), "w") as to:
        streams = {stream.index: to.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is None or (packet.stream.type == kind and 2.5 <= float(packet.pts * packet.time_base) < 7):
                continue
            packet.stream = streams[packet.stream.index]
            to.mux(packet)
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    store = ClipStore(tmp_path / "out")
    assert [clip.start_s for clip in store] == [0.0, 8.0]
    entries = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert [(entry["check"], entry["start_s"]) for entry in entries] == [("decode", t) for t in (2.0, 4.0, 6.0)]
    assert decode_mp4(store.read(store[-1], "mp4")).mean(axis=(1, 2)).argmax() == 16
    assert np.abs(decode_flac(store.read(store[-1], "flac"))[0]).argmax() == pytest.approx(24000, abs=48)


def test_silence(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "bad", sound_CS=1e-4 * field(2))
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["threshold"]) == ("silent", -60)
    assert entry["figure"] == pytest.approx(-97, abs=3)


def _with_quiet_directions(sound: Array) -> Array:
    return np.concatenate([sound[:1], 1e-4 * sound[1:]])


@pytest.mark.parametrize(
    ("sound", "check"),
    [
        (_with_quiet_directions(field(2)), "spatial"),
        (np.repeat(noise(2)[None], 4, axis=0), "mono"),
        (noise(2)[None] * np.array([[1], [-0.7], [0.7], [0.7]], np.float32), "mono"),
    ],
    ids=["empty directions", "copied", "copied with gains"],
)
def test_mono_in_four_channels(tmp_path: Path, sound: Array, check: str) -> None:
    write_recording(tmp_path / "raw", "bad", sound_CS=sound)
    assert refusal(tmp_path / "raw", tmp_path / "out")["check"] == check


def test_one_still_source_is_no_mono_copy(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "source", sound_CS=plane_wave(noise(2), 30, 40))
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).clips == 1


@pytest.mark.parametrize("crf", ["18", "35"])
def test_still_image(tmp_path: Path, crf: str) -> None:
    frames = np.repeat(panorama(1), 32, axis=0)
    Writer(tmp_path / "raw/bad.mp4").add(frames, field(2), options={"crf": crf, "g": "10"})
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "still"
    assert entry["figure"] < entry["threshold"]


def test_a_small_mover_in_a_still_panorama_is_no_still_image(tmp_path: Path) -> None:
    frames = np.repeat(panorama(1, height=240), 32, axis=0)
    for t, frame in enumerate(frames):
        frame[100:112, 200 + 2 * t : 212 + 2 * t] = 230
    Writer(tmp_path / "raw/good.mp4").add(frames, field(2))
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).clips == 1


def test_lengths_that_do_not_belong_together(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32))
    Writer(tmp_path / "raw/bad.flac").add(sound_CS=field(5), audio="flac", layout="quad")
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["figure"], entry["threshold"]) == ("length", pytest.approx(3, abs=0.1), 1)


def test_too_short(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(8), field(0.5))
    assert refusal(tmp_path / "raw", tmp_path / "out")["check"] == "duration"


def _project(panorama_HWC: Array, projection: str) -> Array:
    """An equirectangular picture in another projection, by FFmpeg."""
    graph: Any = av.filter.Graph()
    height, width = panorama_HWC.shape[:2]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 16))
    turn = graph.add("v360", f"input=e:output={projection}:w=192:h=128")
    to = graph.add("scale", "128:64")
    sink = graph.add("buffersink")
    for one, next_ in ((source, turn), (turn, to), (to, sink)):
        one.link_to(next_)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(panorama_HWC, format="rgb24")
    frame.pts = 0
    graph.push(frame)
    return np.asarray(graph.pull().to_ndarray(format="rgb24"))


@pytest.mark.parametrize("projection", ["eac", "c3x2", "flat"])
def test_not_equirectangular(tmp_path: Path, projection: str) -> None:
    rng = np.random.default_rng(3)
    scene = panorama(32, height=128).astype(np.float32)
    for _ in range(24):  # boxes everywhere: a cube's faces differ at their edges
        v, u, grey = rng.integers(8, 112), rng.integers(0, 240), rng.uniform(-80, 120)
        scene[:, v : v + 24, u : u + 40] += grey
    frames = [_project(frame.clip(0, 255).astype(np.uint8), projection) for frame in scene]
    Writer(tmp_path / "raw/bad.mp4").add(np.stack(frames), field(2))
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "projection"
    assert entry["figure"] > entry["threshold"]


def test_damaged_label_maps_and_truth(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "bad")
    (tmp_path / "raw/bad.json").write_text("{")
    assert refusal(tmp_path / "raw", tmp_path / "out")["check"] == "truth"
    write_recording(tmp_path / "raw", "bad")
    (tmp_path / "raw/bad.json").unlink()
    (tmp_path / "raw/bad.segm.png").write_bytes(b"no picture")
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).refused == {"labels": 1}
    assert ["segm.png" in clip.members for clip in ClipStore(tmp_path / "out")] == [False, False]


def test_thresholds_come_from_the_configuration(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "quiet", sound_CS=0.03 * field(2))
    loud = CONFIG.model_copy(update={"checks": Checks(min_rms_db=-40)})
    assert refusal(tmp_path / "raw", tmp_path / "out", loud)["check"] == "silent"
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "raw/good.mp4").unlink()
    (tmp_path / "raw/good.m4a").unlink()
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).clips == 1


def test_nothing_passes(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32))
    with pytest.raises(UserError, match=r"none of 1 recordings passes the checks, .*refused.jsonl"):
        ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    assert json.loads((tmp_path / "out/refused.jsonl").read_text())["check"] == "audio"
    assert not (tmp_path / "out/manifest.jsonl").exists()


def test_nothing_to_ingest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of recordings"):
        find_recordings(tmp_path / "raw")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="no video in"):
        find_recordings(tmp_path / "raw")
    write_recording(tmp_path / "raw/train", "a")
    (tmp_path / "raw/val").mkdir()
    with pytest.raises(UserError, match="split 'val' is empty"):
        find_recordings(tmp_path / "raw")
