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
from avsa.clips.matroska import Part, damaged_clusters
from avsa.clips.riff import check_wav

Span = tuple[float, float]  # from, to; seconds

# What recordings come in. Others, such as play lists that name further files, are not opened.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,flac,avi,aiff,caf,mpegts,aac,mp3"
_MOST_PIXELS = 12288 * 6144  # the largest panoramas that cameras give; a damaged size would fill the memory
_OPTIONS = {"max_pixels": str(_MOST_PIXELS)}  # of decoders
_CHECKED = {"flac": {"err_detect": "crccheck+explode"}}  # has a checksum per frame, which is not compared without
_RATES = (4000, 384000)  # of sound, per second
_LONGEST_GAP_S = 600.0
_ORIGIN_FROM_S = 0.5  # a file whose time starts later than this was cut from a longer one


@dataclass(frozen=True)
class Media:
    """An open stream of a file. Times are seconds from the file's time zero."""

    container: Any
    stream: Any
    origin_s: float  # on the file's own clock
    start_s: float  # where the file says that the stream starts
    end_s: float | None  # where the file says that the stream ends
    decoder: Any = None  # another one than the stream's own
    damaged: tuple[Part, ...] = ()  # of the file, in bytes

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

    def is_damaged(self, packet: Any) -> bool:
        """Whether the demuxer says so, or the packet lies in a damaged part of the file."""
        at = packet.pos
        return bool(packet.is_corrupt or (at is not None and any(begin <= at < end for begin, end in self.damaged)))

    def decode(self, packet: Any) -> list[Any]:
        """A packet's frames; the last, empty packet gives what is left.

        Raises:
            av.error.FFmpegError: the packet is damaged.
        """
        if self.decoder is None:
            return list(packet.decode())
        return list(self.decoder.decode(packet if packet.size else None))

    def close(self) -> None:
        self.container.close()


def open_stream(path: Path, kind: Literal["video", "audio"], verified: bool = False) -> Media:
    """Open the first stream of a kind; with `verified`, read the file for checksums and lengths that it holds itself.

    Time zero is the file's own zero; for a file cut from a longer one, whose time starts later, it is that start. Sound
    that encoders put before zero (AAC priming, Opus pre-skip) is dropped by the decoder.

    Raises:
        RefusedError: not a media file, damaged, without such a stream, or larger than any recording.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise RefusedError("media", f"{path.name} is no file")
    try:
        container: Any = av.open(str(path), options={"format_whitelist": _CONTAINERS})
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
    try:
        _check_size(stream)
        damaged: tuple[Part, ...] = ()
        if verified:
            check_wav(path)
            damaged = damaged_clusters(path)
    except (RefusedError, OSError) as error:
        container.close()
        if isinstance(error, OSError):
            raise RefusedError("media", f"{path.name} cannot be read: {error.strerror}") from error
        raise
    stream.codec_context.thread_count = 1  # recordings run in parallel instead
    stream.codec_context.options = _OPTIONS | _CHECKED.get(stream.codec_context.name, {})
    starts_s = float((stream.start_time or 0) * stream.time_base) - origin_s
    end_s = _declared_end(container, stream, origin_s)
    return Media(container, stream, origin_s, starts_s, end_s, _strict_decoder(stream), damaged)


def _check_size(stream: Any) -> None:
    codec = stream.codec_context
    if stream.type == "video" and codec.width * codec.height > _MOST_PIXELS:
        reason = f"a picture of {codec.width}×{codec.height} is larger than any panorama: damaged"
        raise RefusedError("size", reason, codec.width * codec.height, _MOST_PIXELS)
    if stream.type == "audio" and not _RATES[0] <= codec.sample_rate <= _RATES[1]:
        reason = f"{codec.sample_rate} samples a second is no rate of sound: damaged"
        raise RefusedError("size", reason, codec.sample_rate, _RATES[codec.sample_rate > _RATES[1]])


def _strict_decoder(stream: Any) -> Any:
    """A decoder that notices more damage than FFmpeg's own: of VP9, which has no checksums, libvpx (8 bit only)."""
    codec = stream.codec_context
    if codec.name != "vp9" or codec.profile != "Profile 0" or "libvpx-vp9" not in av.codecs_available:
        return None
    decoder: Any = av.CodecContext.create("libvpx-vp9", "r")
    decoder.thread_count, decoder.extradata = 1, codec.extradata
    decoder.options = _OPTIONS
    return decoder


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
