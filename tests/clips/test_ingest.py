"""From recordings to clips: what is cut, and that direction and time survive."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from clips_media import (
    RATE,
    Array,
    Writer,
    decode_flac,
    decode_mp4,
    direction,
    field,
    noise,
    only_clip,
    panorama,
    plane_wave,
    store_bytes,
    write_recording,
)
from PIL import Image

from avsa.clips.ingest import ingest
from avsa.clips.label_maps import count_maps, read_map
from avsa.clips.store import ClipStore
from avsa.config import Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")
SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
SITAR = SHARED / "real/sitar360.webm"


def flash_and_click(seconds: float, fps: float, at_s: list[float], rate: int) -> tuple[Array, Array]:
    """White frames and clicks at the same times."""
    frames = panorama(round(seconds * fps), flash=tuple(round(t * fps) for t in at_s))
    signal = 0.01 * noise(seconds, rate)
    signal[[round(t * rate) for t in at_s]] = 0.9
    return frames, plane_wave(signal, 20, 0)


def brightest_s(luma_THW: Array) -> float:
    return float(luma_THW.mean(axis=(1, 2)).argmax()) / 16


def loudest_s(foa_CS: Array) -> float:
    return float(np.abs(foa_CS[0]).argmax()) / RATE


def test_times_survive_every_container(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    frames, sound = flash_and_click(3, 16, [1.0], RATE)
    Writer(raw / "aac_beside.mp4").add(frames)  # B-frames, AAC priming
    Writer(raw / "aac_beside.m4a").add(sound_CS=sound)
    Writer(raw / "aac_inside.mp4").add(frames, sound)
    Writer(raw / "cut_from_longer.mkv").add(frames, sound, audio="flac", layout="quad", start_s=7)
    Writer(raw / "flac_beside.mp4").add(frames)
    Writer(raw / "flac_beside.flac").add(sound_CS=sound, audio="flac", layout="quad")
    Writer(raw / "late_sound.mkv").add(frames, sound[:, RATE // 2 :], audio="flac", layout="quad", sound_start_s=0.5)
    frames, sound = flash_and_click(3, 30000 / 1001, [1.001], 48000)
    Writer(raw / "opus_30fps.mkv").add(frames, sound, fps=30000 / 1001, rate=48000, audio="libopus", layout="quad")
    Writer(raw / "wav_30fps.mp4").add(frames, fps=30000 / 1001)
    Writer(raw / "wav_30fps.wav").add(sound_CS=sound, rate=48000, audio="pcm_s24le", layout="quad")
    frames, sound = flash_and_click(3, 32, [1.0], 44100)
    Writer(raw / "vp8_44khz.mkv").add(frames, sound, fps=32, rate=44100, video="libvpx", audio="flac", layout="quad")
    assert ingest(raw, tmp_path / "out", CONFIG.model_copy(update={"clip_s": 3.0}), jobs=1).clips == 8
    store = ClipStore(tmp_path / "out")
    for clip in store:
        assert clip.frames == 48
        assert brightest_s(decode_mp4(store.read(clip, "mp4"))) == 1.0, clip.source
        assert loudest_s(decode_flac(store.read(clip, "flac"))) == pytest.approx(1.0, abs=0.002), clip.source


def test_times_stay_together_in_later_clips(tmp_path: Path) -> None:
    times = [0.5, 3.0, 5.5, 6.5]
    frames, sound = flash_and_click(8.5, 30, times, 44100)
    Writer(tmp_path / "raw/long.mp4").add(frames, sound, fps=30, rate=44100)
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).clips == 4
    store = ClipStore(tmp_path / "out")
    for clip, at_s in zip(store, times, strict=True):
        assert clip.frames == 32
        assert len(decode_mp4(store.read(clip, "mp4"))) == 32
        assert brightest_s(decode_mp4(store.read(clip, "mp4"))) == pytest.approx(at_s - clip.start_s, abs=1 / 32)
        foa = decode_flac(store.read(clip, "flac"))
        assert foa.shape == (4, 2 * RATE)
        assert loudest_s(foa) == pytest.approx(at_s - clip.start_s, abs=0.002)


def test_the_nearest_frame_is_taken(tmp_path: Path) -> None:
    """A ramp of brightness at 30 fps: frame n at 16 fps shows source frame round(n · 30 / 16)."""
    grey = (40 + 2.5 * np.arange(60)).astype(np.uint8)
    frames = panorama(60) // 8 + grey[:, None, None, None]
    Writer(tmp_path / "raw/ramp.mp4").add(frames, field(2), fps=30, options={"crf": "4"})
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG.model_copy(update={"crf": 4}), jobs=1)
    luma, _ = only_clip(tmp_path / "out")
    source = frames[..., 0].mean(axis=(1, 2)) * (219 / 255) + 16
    found = np.abs(luma.mean(axis=(1, 2))[:, None] - source[None]).argmin(axis=1)
    expected = np.arange(32) * 30 / 16
    assert np.all(np.abs(found - expected) <= 0.5 + 1e-6)


@pytest.mark.parametrize(
    ("seconds", "clip_s", "frames"),
    [(3.0, 3.0, [48]), (2.97, 3.0, [48]), (2.0, 3.0, [32]), (7.5, 3.0, [48, 48]), (5.96, 3.0, [48, 48])],
)
def test_number_of_clips(tmp_path: Path, seconds: float, clip_s: float, frames: list[int]) -> None:
    write_recording(tmp_path / "raw", "a", seconds)
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG.model_copy(update={"clip_s": clip_s}), jobs=1)
    assert [clip.frames for clip in ClipStore(tmp_path / "out")] == frames


@pytest.mark.parametrize(("azimuth", "elevation"), [(40, 25), (-135, -30), (90, 5)])
def test_direction_survives(tmp_path: Path, azimuth: float, elevation: float) -> None:
    write_recording(tmp_path / "raw", "a", sound_CS=plane_wave(noise(2), azimuth, elevation))
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    _, foa = only_clip(tmp_path / "out")
    assert direction(foa) == pytest.approx((azimuth, elevation), abs=1)  # white noise is hard on AAC


def test_other_channel_orders_are_converted(tmp_path: Path) -> None:
    w, y, z, x = plane_wave(noise(2), 40, 25)
    empty = np.zeros_like(w)
    for order, sound, layout in (
        ("fuma", [w / np.sqrt(2), x, y, z], "quad"),
        ("acn-n3d", [w, np.sqrt(3) * y, np.sqrt(3) * z, np.sqrt(3) * x], "quad"),
        ("youtube-aac6", [x, y, w, empty, z, empty], "5.1"),
    ):
        raw, out = tmp_path / order, tmp_path / f"{order}-out"
        Writer(raw / "a.mp4").add(panorama(32))
        Writer(raw / "a.flac").add(sound_CS=np.stack(sound), audio="flac", layout=layout)
        ingest(raw, out, Clips.model_validate({**CONFIG.model_dump(), "channel_order": order}), jobs=1)
        _, foa = only_clip(out)
        assert direction(foa) == pytest.approx((40, 25), abs=0.1), order
        assert foa[0] == pytest.approx(w, abs=1e-4), order


def test_overload_lowers_all_channels_alike(tmp_path: Path) -> None:
    foa = plane_wave(noise(2), 40, 25) * 8
    Writer(tmp_path / "raw/a.mp4").add(panorama(32))
    Writer(tmp_path / "raw/a.wav").add(sound_CS=foa, audio="pcm_f32le", layout="quad")
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    _, stored = only_clip(tmp_path / "out")
    peak = np.abs(foa).max()
    assert stored == pytest.approx(foa / peak, abs=1e-4)
    assert ClipStore(tmp_path / "out")[0].checks["gain_db"] == pytest.approx(-20 * np.log10(peak), abs=1e-3)


def test_picture_survives_resizing(tmp_path: Path) -> None:
    """A 16:9 frame is squeezed panorama: the stored one is 2:1 and shows the same at the same share of width."""
    frames = panorama(32, height=128, width=228)
    Writer(tmp_path / "raw/a.mp4").add(frames, field(2), options={"crf": "10"})
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    luma, _ = only_clip(tmp_path / "out")
    assert luma.shape == (32, 64, 128)
    expected = panorama(32)[..., 0] * (219 / 255) + 16
    assert np.abs(luma - expected).mean() < 2


def test_clips_of_a_long_recording(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    times = [round(i / 4, 5) for i in range(20)]
    truth = {
        "label_fps": 4.0,
        "time_s": times,
        "place": 3,
        "objects": [{"class_id": 7, "azimuth": [0.1 * i for i in range(20)], "radius": 0.2}],
    }
    write_recording(raw / "val", "long", 5.0, truth=truth)
    maps = np.repeat(np.arange(20, dtype=np.uint8), 8)[:, None] * np.ones((1, 16), np.uint8)
    Image.fromarray(maps).save(raw / "val/long.segm.png")
    (raw / "classes.json").write_text('{"things": [], "stuff": []}')
    summary = ingest(raw, tmp_path / "out", CONFIG, jobs=1)
    assert (summary.clips, summary.splits, summary.duration_s) == (2, {"val": 2}, 4.0)
    store = ClipStore(tmp_path / "out", "val")
    second = store[1]
    assert (second.id, second.source, second.start_s, second.label_fps) == ("val-long-0001", "val/long.mp4", 2.0, 4.0)
    png = store.read(second, "segm.png")
    cut_THW = np.stack([read_map(png, index) for index in range(count_maps(png))])
    assert cut_THW.shape == (8, 8, 16)
    assert cut_THW[:, 0, 0].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]
    found = store.truth(second)
    assert found["time_s"] == times[:8]
    assert found["objects"][0]["azimuth"] == pytest.approx([0.1 * i for i in range(8, 16)])
    assert (found["place"], found["start_s"], found["source"]) == (3, 2.0, "val/long.mp4")
    assert json.loads((tmp_path / "out/classes.json").read_text()) == {"things": [], "stuff": []}


def test_a_whole_recording_keeps_its_truth_and_maps(tmp_path: Path) -> None:
    truth = {"label_fps": 4.0, "time_s": [i / 4 for i in range(8)], "objects": [{"azimuth": [0.5] * 8}]}
    write_recording(tmp_path / "raw/train", "train-7", truth=truth)
    maps = np.repeat(np.arange(8, dtype=np.uint8), 8)[:, None] * np.ones((1, 16), np.uint8)
    Image.fromarray(maps).save(tmp_path / "raw/train/train-7.segm.png")
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    store = ClipStore(tmp_path / "out")
    assert store[0].id == "train-7-0000"
    assert store.truth(store[0]).items() >= truth.items()
    png = store.read(store[0], "segm.png")
    np.testing.assert_array_equal(np.concatenate([read_map(png, index) for index in range(8)]), maps)


def test_names_that_are_alike_or_odd(tmp_path: Path) -> None:
    for stem in ("a b", "a.b", "a#b", "ü" * 60):
        write_recording(tmp_path / "raw", stem, 1.0)
    ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    ids = [clip.id for clip in ClipStore(tmp_path / "out")]
    assert len(set(ids)) == 4
    assert all(set(clip_id) <= set("abcdef0123456789_-") and len(clip_id) < 90 for clip_id in ids)


def test_any_number_of_jobs_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(5):
        sound = field(1.5, seed=number)
        write_recording(tmp_path / "raw" / ("train", "test")[number % 2], f"scene{number}", 1.5, sound_CS=sound)
    Writer(tmp_path / "raw/train/bad.mp4").add(panorama(32))
    one = ingest(tmp_path / "raw", tmp_path / "one", CONFIG, jobs=1)
    two = ingest(tmp_path / "raw", tmp_path / "two", CONFIG, jobs=2)
    assert one == two
    assert one.refused == {"audio": 1}
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")


def test_auto_stops_where_the_signals_speak_against_acn(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(4):
        waves = [plane_wave(noise(4, seed=i), rng.uniform(-180, 180), rng.uniform(-15, 15)) for i in range(9)]
        w, y, z, x = np.sum(waves, axis=0)
        sound = np.stack([w / np.sqrt(2), x, y, z])
        Writer(tmp_path / f"raw/{number}.mp4").add(panorama(64))
        Writer(tmp_path / f"raw/{number}.flac").add(sound_CS=sound, audio="flac", layout="quad")
    auto = CONFIG.model_copy(update={"channel_order": "auto"})
    with pytest.raises(UserError, match=r"looks like fuma, not acn-sn3d .* set clips.channel_order to fuma"):
        ingest(tmp_path / "raw", tmp_path / "out", auto, jobs=1)
    assert ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1).order is None


@pytest.mark.skipif(not SITAR.exists(), reason=f"the real recording {SITAR} is absent")
def test_a_real_recording(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/sitar360.webm").symlink_to(SITAR)
    summary = ingest(tmp_path / "raw", tmp_path / "out", Clips(height=240), jobs=1)
    assert summary.order is not None
    assert summary.order[0] == "acn-sn3d"
    luma, foa = only_clip(tmp_path / "out")
    assert luma.shape == (160, 240, 480)
    assert direction(foa) == pytest.approx((-4.8, 9.9), abs=1)
