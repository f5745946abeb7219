"""Folders laid out as existing data sets are, of small real media."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clips_media import RATE, Array, Writer, noise, panorama, plane_wave
from PIL import Image

from avsa.config import Clips

IDS = ("yJtIK922yxg", "-oytwMeyR74", "taARyMZcFJM")
CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")
MAP_HEIGHT = 16


def marked(seconds: float, at_s: list[float], rate: int = RATE, seed: int = 0) -> tuple[Array, Array]:
    """Pictures at 16 per second that are white, and a sound from (50°, 20°) that clicks, at the given times."""
    signal = 0.01 * noise(seconds, rate, seed)
    signal[[round(t * rate) for t in at_s]] = 0.9
    frames = panorama(round(seconds * 16), flash=tuple(round(t * 16) for t in at_s))
    return frames, plane_wave(signal, 50, 20)


def write_pair(video: Path, audio: Path, seconds: float, at_s: list[float]) -> None:
    """A video and its sound, of codecs that their suffixes ask for."""
    codec, options = ("libvpx", {"cpu-used": "8"}) if video.suffix == ".webm" else ("libx264", {})
    Writer(video).add(marked(seconds, at_s)[0], video=codec, options=options)
    sound_codecs = {
        ".webm": ("libopus", 48000, "quad"),
        ".wav": ("pcm_s16le", RATE, "quad"),
        ".m4a": ("aac", RATE, "4.0"),
    }
    codec, rate, layout = sound_codecs[audio.suffix]
    Writer(audio).add(sound_CS=marked(seconds, at_s, rate)[1], rate=rate, audio=codec, layout=layout)


def panoptic_pictures(count: int, seed: int = 0) -> dict[str, Array]:
    """Pairs of pictures: things with and without a class, stuff with and without, in blocks."""
    rng = np.random.default_rng(seed)
    shape = (MAP_HEIGHT, 2 * MAP_HEIGHT)
    pictures = {}
    for index in range(count):
        things = np.where(rng.random(shape) < 0.5, 80, rng.integers(0, 80, shape))
        pictures[f"things-{index:04d}.png"] = things.astype(np.uint8)
        pictures[f"stuff-{index:04d}.png"] = rng.integers(0, 55, shape).astype(np.uint8)
    return pictures


def merged(things: int, stuff: int) -> int:
    """The class of a pixel, as YT-360 defines it."""
    if things != 80:
        return things
    return 255 if stuff == 54 else 80 + stuff


def write_maps(folder: Path, pictures: dict[str, Array]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)


def write_yt360(raw: Path) -> dict[str, dict[str, Array]]:
    """Three published clips of two videos; returns the pictures of their label maps."""
    clips = {f"{IDS[0]}-54": 0.5, f"{IDS[0]}-68": 1.0, f"{IDS[1]}-7": 1.5}
    pictures = {}
    for seed, (clip, at_s) in enumerate(clips.items()):
        write_pair(raw / f"video/{clip}.mp4", raw / f"audio/{clip}.m4a", 2.0, [at_s])
        pictures[clip] = panoptic_pictures(8, seed)
        write_maps(raw / "segmentation" / clip, pictures[clip])
    (raw / "train.txt").write_text(f"{IDS[0]}\n{IDS[2]}\n")
    (raw / "test.txt").write_text(f"{IDS[1]}\n")
    names = [f"name {number}" for number in range(134)]
    (raw / "segmentation-classes.txt").write_text("\n".join(names))
    return pictures
