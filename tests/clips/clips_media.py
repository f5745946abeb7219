"""Small media files for the tests: panoramas that move and meet at their edges, sound of known direction and time."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from avsa.clips.store import ClipStore

HEIGHT = 64
RATE = 24000
Array = npt.NDArray[Any]


def panorama(frames: int, height: int = HEIGHT, width: int | None = None, flash: tuple[int, ...] = ()) -> Array:
    """Moving grey waves that are periodic in azimuth and fade to the poles; white in the frames `flash`. T×H×W×3."""
    width = width or 2 * height
    azimuth = np.linspace(0, 2 * np.pi, width, endpoint=False)[None, None]
    fade = np.cos(np.linspace(-np.pi / 2, np.pi / 2, height))[None, :, None]
    phase = np.arange(frames)[:, None, None] * 0.3
    grey = 90 + 40 * fade * np.sin(4 * azimuth + phase) + 20 * fade * np.cos(7 * azimuth - 2 * phase)
    grey[list(flash)] = 255
    return np.repeat(grey[..., None], 3, axis=3).astype(np.uint8)


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> Array:
    return np.asarray(0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)), np.float32)


def plane_wave(signal_S: Array, azimuth_deg: float, elevation_deg: float) -> Array:
    """W, Y, Z, X of a source, from the formula."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    gains = np.array([1, np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], np.float32)
    return gains[:, None] * signal_S


def field(seconds: float, rate: int = RATE, seed: int = 0) -> Array:
    """Two sources: an ordinary sound field."""
    return plane_wave(noise(seconds, rate, seed), 50, 20) + plane_wave(noise(seconds, rate, seed + 1), -100, -10)


def direction(foa_CS: Array) -> tuple[float, float]:
    """Azimuth and elevation in degrees of the mean intensity, from the formula."""
    y, z, x = (foa_CS[0] * foa_CS[1:]).mean(axis=1)
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


class Writer:
    """A media file with at most one stream of each kind."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.container: Any = av.open(str(path), "w")

    def add(
        self,
        frames_THWC: Array | None = None,
        sound_CS: Array | None = None,
        *,
        fps: float = 16,
        rate: int = RATE,
        video: str = "libx264",
        audio: str = "aac",
        layout: str = "4.0",
        start_s: float = 0.0,
        sound_start_s: float | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        rate_fps = Fraction(fps).limit_denominator(1001)
        streams = []
        if frames_THWC is not None:
            stream = self.container.add_stream(video, rate=rate_fps, options=options or {})
            stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
            stream.codec_context.thread_count = 1
            streams.append((stream, self._pictures(frames_THWC, rate_fps, start_s)))
        if sound_CS is not None:
            stream = self.container.add_stream(audio, rate=rate, layout=layout)
            if audio == "aac":
                stream.bit_rate = 96000 * len(sound_CS)
            begin_s = start_s if sound_start_s is None else sound_start_s
            streams.append((stream, self._sounds(sound_CS, rate, layout, begin_s, stream.codec_context.format)))
        for stream, frames in streams:
            for frame in [*frames, None]:
                self.container.mux(stream.encode(frame))
        self.container.close()

    @staticmethod
    def _pictures(frames_THWC: Array, fps: Fraction, start_s: float) -> list[Any]:
        pictures = []
        for number, image in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number + round(start_s * fps), 1 / fps
            pictures.append(frame)
        return pictures

    @staticmethod
    def _sounds(sound_CS: Array, rate: int, layout: str, start_s: float, format_: Any) -> list[Any]:
        data = np.ascontiguousarray(sound_CS, np.float32)
        frame = av.AudioFrame.from_ndarray(data, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
        resampler: Any = av.AudioResampler(format=format_, layout=layout, rate=rate)
        return [*resampler.resample(frame), *resampler.resample(None)]


def write_recording(
    folder: Path, stem: str, seconds: float = 2.0, *, sound_CS: Array | None = None, truth: dict[str, Any] | None = None
) -> Path:
    """`stem`.mp4 with `stem`.m4a beside it, as most sources have them; returns the video."""
    video = folder / f"{stem}.mp4"
    Writer(video).add(panorama(round(seconds * 16)))
    Writer(folder / f"{stem}.m4a").add(sound_CS=field(seconds) if sound_CS is None else sound_CS)
    if truth is not None:
        (folder / f"{stem}.json").write_text(json.dumps(truth))
    return video


def decode_flac(payload: bytes) -> Array:
    """Channels × samples, full scale 1."""
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.format.name == "s16"
        data = [frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T for frame in container.decode(stream)]
    return np.concatenate(data, axis=1).astype(np.float32) / 32768


def decode_mp4(payload: bytes) -> Array:
    """Luma, T×H×W."""
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        planes = [frame.to_ndarray() for frame in container.decode(container.streams.video[0])]
    return np.stack([plane[: plane.shape[0] * 2 // 3] for plane in planes])


def store_bytes(root: Path) -> dict[str, bytes]:
    """Everything in a store."""
    return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


def only_clip(root: Path) -> tuple[Array, Array]:
    """Luma and sound of a store with one clip."""
    store = ClipStore(root)
    assert len(store) == 1
    return decode_mp4(store.read(store[0], "mp4")), decode_flac(store.read(store[0], "flac"))
