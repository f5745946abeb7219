"""Opening media files: which streams they have, and where their time begins and ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av

from avsa.clips.ledger import RefusedError

Span = tuple[float, float]  # from, to; seconds

_LONGEST_GAP_S = 600.0
_ORIGIN_FROM_S = 0.5  # a file whose time starts later than this was cut from a longer one


@dataclass(frozen=True)
class Media:
    """An open stream of a file. Times are seconds from the file's time zero."""

    container: Any
    stream: Any
    origin_s: float  # on the file's own clock
    end_s: float | None  # where the file says that the stream ends

    def seconds(self, pts: int | None) -> float | None:
        """A timestamp of this stream as seconds from time zero."""
        return None if pts is None else float(pts * self.stream.time_base) - self.origin_s

    def check_gap(self, from_s: float, to_s: float) -> None:
        """Raises RefusedError where timestamps jump so far that filling the gap would fill the memory."""
        if to_s - from_s > _LONGEST_GAP_S:
            reason = f"the {self.stream.type}'s timestamps jump from {from_s:.0f} to {to_s:.0f} s"
            raise RefusedError("decode", reason, to_s - from_s, _LONGEST_GAP_S)

    def packets(self) -> Iterator[Any]:
        """Packets up to the stream's end, or to where the demuxer cannot go on: what is missing shows in the length."""
        with suppress(av.error.FFmpegError):
            yield from self.container.demux(self.stream)

    def close(self) -> None:
        self.container.close()


def open_stream(path: Path, kind: Literal["video", "audio"]) -> Media:
    """Open the first stream of a kind.

    Time zero is the file's own zero; for a file cut from a longer one, whose time starts later, it is that start. Sound
    that encoders put before zero (AAC priming, Opus pre-skip) is dropped by the decoder.

    Raises:
        RefusedError: not a media file, damaged, or without such a stream.
    """
    try:
        container: Any = av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise RefusedError("media", f"{path.name} cannot be opened: {_why(path, error)}") from error
    streams = [stream for stream in container.streams if stream.type == kind and stream.codec_context is not None]
    if kind == "video":  # a cover picture is no video
        streams = [stream for stream in streams if not stream.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        container.close()
        raise RefusedError(kind, f"{path.name} has no {kind} stream")
    start_s = (container.start_time or 0) / 1e6
    origin_s = start_s if start_s > _ORIGIN_FROM_S else 0.0
    stream = streams[0]
    stream.codec_context.thread_count = 1  # recordings run in parallel instead
    return Media(container, stream, origin_s, _declared_end(container, stream, origin_s))


def _declared_end(container: Any, stream: Any, origin_s: float) -> float | None:
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base) - origin_s
    tag = stream.metadata.get("DURATION")  # Matroska and WebM: hh:mm:ss.fraction, the end on the file's clock
    if tag and tag.count(":") == 2:
        hours, minutes, seconds = tag.split(":")
        return float(Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)) - origin_s
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return None


def _why(path: Path, error: Exception) -> str:
    try:
        head = path.open("rb").read(12)
    except OSError as unreadable:
        return str(unreadable.strerror)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "a truncated or damaged mp4 (no index: the moov box is missing)"
    return str(getattr(error, "strerror", None) or error)
