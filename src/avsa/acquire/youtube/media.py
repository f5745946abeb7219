"""Whether a fetched file is what it was said to be: whole, with a picture, with spatial sound."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from avsa.acquire.youtube.states import Failure

_MOST_MISSING_S = 1.0  # between the end that a file declares and its last packet


@dataclass(frozen=True)
class Examined:
    """What the files of a video hold."""

    duration_s: float  # of the shorter of picture and sound
    channel_order: str  # as `avsa.ambisonics.foa` calls it
    width: int
    height: int


def examine(paths: Sequence[Path]) -> Examined:
    """Read the streams of a video's files to their end, without decoding.

    Raises:
        Failure: ``wrong-type`` for what is no media; ``damaged`` for media that ends early or lacks the picture or the
            sound; ``no-spatial-audio`` for sound that has neither four channels, nor six in AAC.
    """
    ends: dict[str, float] = {}
    size, order = (0, 0), ""
    for path in paths:
        try:
            with av.open(str(path)) as container:
                for kind in ("video", "audio"):
                    streams: Any = getattr(container.streams, kind)
                    if streams and kind == "video":
                        size = (streams[0].codec_context.width, streams[0].codec_context.height)
                    if streams and kind == "audio":
                        order = _channel_order(streams[0].codec_context.name, streams[0].codec_context.channels)
                ends.update(_read(path, container))
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_media(path, error) from None
    if "video" not in ends or "audio" not in ends:
        raise Failure(
            "damaged", f"no {'sound' if 'video' in ends else 'picture'} in {', '.join(p.name for p in paths)}"
        )
    return Examined(min(ends.values()), order, *size)


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _channel_order(codec: str, channels: int) -> str:
    if channels == 4:
        return "youtube-aac4" if codec == "aac" else "acn-sn3d"
    if channels == 6 and codec == "aac":
        return "youtube-aac6"
    raise Failure("no-spatial-audio", f"the sound has {channels} channels ({codec}): 4 are needed, or 6 in AAC")


def _read(path: Path, container: Any) -> dict[str, float]:
    """The end of each kind of stream in seconds, once it is sure that the file goes as far as it says."""
    ends: dict[str, float] = {}
    for packet in container.demux():
        if packet.pts is not None and packet.stream.type in ("video", "audio"):
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            ends[packet.stream.type] = max(end, ends.get(packet.stream.type, 0.0))
    declared_s = (container.duration or 0) / 1e6
    last_s = max(ends.values(), default=0.0) - min(0.0, (container.start_time or 0) / 1e6)
    if declared_s - last_s > _MOST_MISSING_S:
        raise Failure("damaged", f"{path.name} ends at {last_s:.1f} s of {declared_s:.1f}")
    return ends


def _not_media(path: Path, error: Exception) -> Failure:
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head[:1] in (b"<", b"{", b"[") or (head.isascii() and b"\0" not in head):
        return Failure("wrong-type", f"a text, such as an error page, instead of media: it begins {head[:32]!r}")
    return Failure("damaged", f"{path.name} cannot be read: {getattr(error, 'strerror', None) or error}")
