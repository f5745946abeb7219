"""What the raw recordings are, as far as they can be reached: their formats, and pictures of refused ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from avsa.clips.ledger import RefusedError
from avsa.clips.probe import open_stream
from avsa.clips.sources.layout import AUDIO, VIDEO

_PATIENCE = 400  # frames that are decoded in search of one


@dataclass(frozen=True, order=True)
class Format:
    """Of a recording, in words."""

    picture: str
    sound: str


def formats(raw: Path, sources: Iterable[str]) -> Counter[Format]:
    """Recordings by format; those that cannot be opened are left out."""
    counted: Counter[Format] = Counter()
    for source in sources:
        video = raw / source
        beside = [path for suffix in AUDIO if (path := video.with_suffix(suffix)) != video and path.is_file()]
        try:
            counted[Format(_picture(video), _sound(beside[0] if beside else video))] += 1
        except RefusedError:
            continue
    return counted


def _picture(path: Path) -> str:
    media = open_stream(path, "video")
    with media.container:
        codec, rate = media.stream.codec_context, media.stream.average_rate
        return f"{codec.width}×{codec.height}, {float(rate or 0):.4g} fps, {codec.name}"


def _sound(path: Path) -> str:
    media = open_stream(path, "audio")
    with media.container:
        codec = media.stream.codec_context
        return f"{codec.channels} channels, {codec.sample_rate / 1000:g} kHz, {codec.name}"


def picture_of(raw: Path | None, source: str, at_s: float, width: int) -> Image.Image | str:
    """The frame of a recording at a time, or the first one that comes later; where there is none, why."""
    if raw is None:
        return "the raw files are not there"
    path = raw / source
    if not path.is_file():
        return "the raw file is not there"
    if path.suffix.lower() not in VIDEO:
        return "a file of sound"
    try:
        media = open_stream(path, "video")
        with media.container:
            if at_s > 1:
                media.container.seek(int((at_s + media.origin_s) / media.stream.time_base), stream=media.stream)
            found = None
            for count, frame in enumerate(media.container.decode(media.stream)):
                found = frame
                if count >= _PATIENCE or (media.seconds(frame.pts) or 0.0) >= at_s - 1e-3:
                    break
            if found is not None:
                height = min(max(1, round(width * found.height / found.width)), 2 * width)
                image: Image.Image = found.reformat(width=width, height=height, format="rgb24").to_image()
                return image
    except (RefusedError, av.error.FFmpegError, OSError, ValueError, OverflowError):
        pass
    return "no picture can be decoded"
