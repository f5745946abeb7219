"""Small real media files to serve: a panorama with noise in four channels, one file or two, and what is none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE, FPS, SECONDS = 16000, 8, 5.0


def write_film(
    path: Path, *, picture: str = "libx264", sound: str = "flac", layout: str = "4.0", seconds: float = SECONDS
) -> Path:
    """A film of `seconds`; an empty codec leaves its stream out. With FLAC of noise about 0.6 MB."""
    random = np.random.default_rng(len(path.name))
    with av.open(str(path), "w", format="webm" if path.suffix == ".webm" else None) as container:
        streams: list[tuple[Any, list[Any]]] = []
        if picture:
            video: Any = container.add_stream(picture, rate=FPS)
            video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
            frames = [av.VideoFrame(64, 32, "yuv420p") for _ in range(round(seconds * FPS))]
            for number, frame in enumerate(frames):
                for plane in frame.planes:
                    plane.update(random.integers(0, 255, plane.buffer_size, np.uint8).tobytes())
                frame.pts, frame.time_base = number, Fraction(1, FPS)
            streams.append((video, frames))
        if sound:
            audio: Any = container.add_stream(sound, rate=48000 if sound == "libopus" else RATE, layout=layout)
            rate, channels = audio.rate, len(audio.layout.channels)
            noise = (random.standard_normal((1, round(seconds * rate) * channels)) * 3000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(noise, format="s16", layout=layout)
            samples.rate, samples.pts = rate, 0
            streams.append((audio, [samples]))
        for stream, parts in streams:
            for part in [*parts, None]:
                container.mux(stream.encode(part))
    return path
