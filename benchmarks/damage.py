"""Damaged variants of real recordings: what disks, networks, careless tools and wrong metadata make of a file.

The originals are the first second or so of real recordings, in the containers and codecs that recordings come in. A
recording is a dict from suffix to content; a kind of damage takes one, and a source of chance, and gives another.
"""

from __future__ import annotations

import io
import os
import random
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[1] / "../shared/data")) / "real"
SECONDS = 1.2
Files = dict[str, bytes]
Damage = Callable[[Files, random.Random], Files]

_PAGE = b"<!DOCTYPE html><html><head><title>429 Too Many Requests</title></head><body>Try again later.</body></html>\n"
_BLOCK = 4096
_BOTH = ("video", "audio")


def originals() -> dict[str, tuple[Files, str]]:
    """The recordings to damage, and the channel order of each.

    Raises:
        FileNotFoundError: the real recordings are not there.
    """
    sitar, b_format = SHARED / "sitar360.webm", SHARED / "foa_recording_1.ogg"
    return {
        "webm": ({"webm": _copied(sitar, "webm")}, "acn-sn3d"),
        "mkv+ogg": ({"mkv": _copied(sitar, "matroska", "video"), "ogg": _copied(b_format, "ogg")}, "fuma"),
        "mp4+m4a": ({"mp4": _encoded(sitar, "mp4", "video"), "m4a": _encoded(sitar, "mp4", "audio")}, "acn-sn3d"),
        "mp4+wav": ({"mp4": _encoded(sitar, "mp4", "video"), "wav": _encoded(b_format, "wav", "audio")}, "fuma"),
    }


def _packets(container: Any, kinds: tuple[str, ...]) -> Iterator[Any]:
    """Packets of the first `SECONDS`."""
    for packet in container.demux([stream for stream in container.streams if stream.type in kinds]):
        if packet.pts is not None and packet.pts * packet.time_base < SECONDS:
            yield packet


def _copied(file: Path | bytes, format_: str, *kinds: str, times: Callable[[float, str], float] | None = None) -> bytes:
    """The start of a recording, its packets as they are; at other `times` (seconds, kind of stream) if told so."""
    buffer = io.BytesIO()
    source: Any
    options = {"avoid_negative_ts": "disabled"}
    opened = io.BytesIO(file) if isinstance(file, bytes) else str(file)
    with av.open(opened) as source, av.open(buffer, "w", format=format_, options=options) as to:
        streams = {
            one.index: to.add_stream_from_template(one) for one in source.streams if one.type in (kinds or _BOTH)
        }
        for packet in _packets(source, kinds or _BOTH):
            if times is not None:
                kind, base = packet.stream.type, packet.time_base
                packet.dts = round(times(float(packet.dts * base), kind) / base)
                packet.pts = max(packet.dts, round(times(float(packet.pts * base), kind) / base))
            packet.stream = streams[packet.stream.index]
            to.mux(packet)
    return buffer.getvalue()


def _encoded(path: Path, format_: str, kind: str) -> bytes:
    """The start of a recording's picture as H.264 or of its sound as AAC or PCM, as collections have them."""
    buffer = io.BytesIO()
    source: Any
    to: Any
    with av.open(str(path)) as source, av.open(buffer, "w", format=format_) as to:
        frames = [frame for packet in _packets(source, (kind,)) for frame in packet.decode()]
        if kind == "video":
            stream = to.add_stream("libx264", rate=30, options={"g": "15"})
            stream.width, stream.height, stream.pix_fmt = 640, 320, "yuv420p"
            frames = [frame.reformat(width=640, height=320, format="yuv420p") for frame in frames]
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number, Fraction(1, 30)
        else:
            rate = frames[0].sample_rate
            stream = to.add_stream("aac" if format_ == "mp4" else "pcm_s16le", rate=rate, layout="4.0")
            if format_ == "mp4":
                stream.bit_rate = 384000
            sound = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="4.0")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler: Any = av.AudioResampler(format=stream.codec_context.format, layout="4.0", rate=rate)
            frames = [*resampler.resample(frame), *resampler.resample(None)]
        for each in [*frames, None]:
            to.mux(stream.encode(each))
    return buffer.getvalue()


def _one_file(change: Callable[[bytearray, random.Random], bytes | bytearray]) -> Damage:
    def damage(files: Files, rng: random.Random) -> Files:
        suffix = rng.choice(sorted(files))
        return {**files, suffix: bytes(change(bytearray(files[suffix]), rng))}

    return damage


def _flip(count: int) -> Damage:
    def change(data: bytearray, rng: random.Random) -> bytearray:
        for _ in range(count):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return data

    return _one_file(change)


def _block(fill: Callable[[bytes, random.Random], bytes]) -> Damage:
    """Something else in the place of a block of the file."""

    def change(data: bytearray, rng: random.Random) -> bytearray:
        at = rng.randrange(max(1, len(data) - _BLOCK))
        data[at : at + _BLOCK] = fill(bytes(data[at : at + _BLOCK]), rng)
        return data

    return _one_file(change)


def _zero_tail(data: bytearray, rng: random.Random) -> bytearray:
    at = rng.randrange(len(data))
    data[at:] = bytes(len(data) - at)
    return data


def _renamed(files: Files, rng: random.Random) -> Files:
    """A file under another container's suffix."""
    others = {"webm": "mp4", "mkv": "avi", "mp4": "webm", "ogg": "wav", "m4a": "flac", "wav": "ogg"}
    suffix = rng.choice(sorted(files))
    renamed = {others[suffix] if name == suffix else name: content for name, content in files.items()}
    return renamed if len(renamed) == len(files) else {**files, suffix: _PAGE}


def _exchanged(files: Files, rng: random.Random) -> Files:
    """Picture and sound under each other's names; of a single file, two parts of it."""
    if len(files) == 2:
        return dict(zip(files, reversed(files.values()), strict=True))
    ((suffix, content),) = files.items()
    at = rng.randrange(1, len(content))
    return {suffix: content[at:] + content[:at]}


# Fields of the containers: what stands before the value, bytes between the two, and absurd values of it.
_U16, _U32 = struct.Struct(">H").pack, struct.Struct(">I").pack
_FIELDS: dict[str, list[tuple[bytes, int, list[bytes]]]] = {
    "mp4": [
        (b"tkhd", 40, [b"".join(map(_U32, (0, 0x10000, 0, 0xFFFF0000, 0)))]),  # the matrix: a quarter turn
        (b"tkhd", 76, [_U32(60000 << 16) + _U32(60000 << 16), _U32(0) + _U32(0)]),  # size that it is shown at
        (b"tkhd", 20, [_U32(0xFFFFFFFF), _U32(0)]),  # duration
        (
            b"avc1\0\0\0\0\0\0\0\1",
            16,
            [_U16(65535) + _U16(65535), _U16(0) + _U16(0), _U16(2) + _U16(2)],
        ),  # size of the picture
        (b"mdhd", 12, [_U32(1), _U32(0), _U32(0xFFFFFFFF)]),  # ticks per second
        (b"mdhd", 16, [_U32(0xFFFFFFFF), _U32(1)]),  # duration
        (b"mvhd", 12, [_U32(1), _U32(0xFFFFFFFF)]),
        (b"stts", 12, [_U32(0), _U32(0x7FFFFFFF), _U32(1)]),  # ticks per frame
        (b"elst", 12, [_U32(0xFFFFFFF0), _U32(0x7FFFFFFF)]),  # start: negative, far away
        (b"stsz", 4, [_U32(0x7FFFFFFF), _U32(1)]),  # bytes of every frame
        (b"stsz", 8, [_U32(0x7FFFFFFF), _U32(1)]),  # number of frames
        (b"stco", 8, [_U32(0), _U32(0xFFFFFFF0)]),  # place of the first chunk
    ],
    "m4a": [
        (b"mp4a", 16, [_U16(0), _U16(1), _U16(65535)]),  # channels
        (b"mp4a", 24, [_U16(1) + _U16(0), _U16(65535) + _U16(0)]),  # samples per second
        (b"mdhd", 12, [_U32(1), _U32(0), _U32(0xFFFFFFFF)]),
        (b"stts", 12, [_U32(0), _U32(0x7FFFFFFF)]),
        (b"stsz", 8, [_U32(0x7FFFFFFF)]),
    ],
    "wav": [
        (b"fmt ", 6, [_U16(0), _U16(0x0100), _U16(0xFFFF)]),  # channels (little endian)
        (b"fmt ", 8, [bytes(4), b"\1\0\0\0", b"\xff\xff\xff\xff"]),  # samples per second
        (b"data", 0, [b"\xff\xff\xff\xff", bytes(4)]),
    ],
    "mkv": [
        (b"\x2a\xd7\xb1", 1, [bytes(3), b"\xff\xff\xff", b"\0\0\1"]),  # nanoseconds per tick
        (b"\x44\x89\x88", 0, [struct.pack(">d", 1e15), struct.pack(">d", -5.0), struct.pack(">d", float("nan"))]),
        (b"\xb0\x82", 0, [_U16(65535), _U16(0), _U16(1)]),  # width
        (b"\xba\x82", 0, [_U16(65535), _U16(0)]),  # height
        (b"\x23\xe3\x83", 1, [bytes(4), b"\xff\xff\xff\xff"]),  # nanoseconds per frame
    ],
    "webm": [
        (b"\x9f\x81", 0, [b"\0", b"\1", b"\2", b"\xff"]),  # channels
        (b"\xb5\x88", 0, [struct.pack(">d", rate) for rate in (0.0, 1.0, -48000.0, 1e12, 1e300)]),
    ],
    "ogg": [
        (b"\1vorbis", 4, [b"\0", b"\1", b"\2", b"\xff"]),  # channels
        (b"\1vorbis", 5, [bytes(4), b"\1\0\0\0", b"\xff\xff\xff\xff"]),  # samples per second
        (b"OggS", 2, [b"\xff" * 8, bytes(7) + b"\x80", b"\0" * 6 + b"\1\0"]),  # a page's position
    ],
}
_FIELDS["webm"] += _FIELDS["mkv"]


def _absurd(files: Files, rng: random.Random) -> Files:
    """One field of the container says what cannot be."""
    suffix = rng.choice([suffix for suffix in sorted(files) if suffix in _FIELDS])
    data = files[suffix]
    places = [(data.find(marker), len(marker) + skip, values) for marker, skip, values in _FIELDS[suffix]]
    found, skip, values = rng.choice([place for place in places if place[0] >= 0])
    value = rng.choice(values)
    return {**files, suffix: data[: found + skip] + value + data[found + skip + len(value) :]}


def _mistimed(files: Files, rng: random.Random) -> Files:
    """Other timestamps: shifted, of one stream alone, stretched, with a jump."""
    by, only, at = rng.choice([-5.0, -1.0, 0.7, 3.0, 1e3, 1e6]), rng.choice([*_BOTH, ""]), rng.uniform(0, SECONDS)
    way = rng.choice(["shift", "stretch", "jump"])

    def times(seconds: float, kind: str) -> float:
        if only and kind != only:
            return seconds
        if way == "stretch":
            return seconds * (abs(by) if abs(by) > 1 else 0.01)
        return seconds + by if way == "shift" or seconds > at else seconds

    rest = {suffix: content for suffix, content in files.items() if suffix in ("m4a", "ogg", "wav")}
    (picture,) = (content for suffix, content in files.items() if suffix not in rest)
    try:
        return {"mkv": _copied(picture, "matroska", times=times), **rest}
    except av.error.FFmpegError:  # the writer does not write such times
        return _absurd(files, rng)


KINDS: dict[str, Damage] = {
    "one bit flipped": _flip(1),
    "16 bits flipped": _flip(16),
    "500 bits flipped": _flip(500),
    "cut off at the end": _one_file(lambda data, rng: data[: rng.randrange(1, len(data))]),
    "cut off at the start": _one_file(lambda data, rng: data[rng.randrange(1, len(data)) :]),
    "a block of zeros": _block(lambda block, rng: bytes(len(block))),
    "a block of noise": _block(lambda block, rng: rng.randbytes(len(block))),
    "a block lost": _block(lambda block, rng: b""),
    "a block twice": _block(lambda block, rng: 2 * block),
    "zeros to the end": _one_file(_zero_tail),
    "empty, or a web page": _one_file(lambda data, rng: rng.choice([b"", _PAGE, _PAGE * 999])),
    "another suffix": _renamed,
    "swapped contents": _exchanged,
    "absurd metadata": _absurd,
    "absurd times": _mistimed,
}


def variants(count: int, seed: int = 0) -> Iterator[tuple[int, str, str]]:
    """Number, kind of damage and original of each variant: all pairs in turn."""
    pairs = [(kind, original) for kind in KINDS for original in ("webm", "mkv+ogg", "mp4+m4a", "mp4+wav")]
    random.Random(seed).shuffle(pairs)
    for number in range(count):
        yield number, *pairs[number % len(pairs)]
