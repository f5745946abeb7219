"""Where a window of samples lies in a FLAC file in memory.

Frames of a fixed number of samples begin with a header that is known but for the frame's number and its checksum
(RFC 9639, sections 8 and 9.1), so the header of the wanted frame is simply looked for.
"""

import struct
from functools import lru_cache
from typing import NamedTuple


class FlacFrames(NamedTuple):
    """A run of whole frames."""

    payload: bytes
    first_sample: int
    stream_info: bytes  # what a decoder is set up with


def find_frames(data: bytes, start_sample: int, stop_sample: int) -> FlacFrames:
    """The frames that hold samples `start_sample` ... `stop_sample − 1`, and perhaps one more at each end.

    Raises:
        ValueError: not such a file, a damaged one, or samples beyond its end.
    """
    try:
        return _find_frames(data, start_sample, stop_sample)
    except (struct.error, IndexError) as error:
        raise ValueError(f"truncated or damaged FLAC ({error})") from error


def _find_frames(data: bytes, start_sample: int, stop_sample: int) -> FlacFrames:
    if data[:4] != b"fLaC":
        raise ValueError("not a FLAC file")
    block, kind, stream_info = 4, 0, b""
    while not kind & 0x80:
        kind, size = data[block], int.from_bytes(data[block + 1 : block + 4])
        if kind & 0x7F == 0:
            stream_info = data[block + 4 : block + 4 + size]
        block += 4 + size
    least, in_frame = struct.unpack_from(">HH", stream_info)
    samples = int.from_bytes(stream_info[13:18]) & 0xFFFFFFFFF
    if stop_sample > samples:
        raise ValueError(f"the audio has {samples} samples")
    header = data[block : block + 16]
    if least != in_frame or header[:2] != b"\xff\xf8" or header[4] != 0:
        raise ValueError("FLAC frames of varying length: the clip store holds none")
    # Bytes after the frame's number: its length and the sample rate, where no code says them.
    extra = {6: 1, 7: 2}.get(header[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)

    def find(frame: int, begin: int) -> int:
        wanted = header[:4] + chr(frame).encode("utf-8", "surrogatepass") + header[5 : 5 + extra]
        place = data.find(wanted + bytes([_checksum(wanted)]), begin)
        if place < 0:
            raise ValueError(f"damaged FLAC (frame {frame} is missing)")
        return place

    # The last frame may be shorter and its header another: it is not looked for but taken with the one before.
    first = max(0, min(start_sample // in_frame, samples // in_frame - 1))
    end = -(-stop_sample // in_frame)
    begin = find(first, block)
    stop = find(end, begin) if (end + 1) * in_frame <= samples else len(data)
    return FlacFrames(data[begin:stop], first * in_frame, stream_info)


def _checksum(header: bytes) -> int:
    """CRC-8 with the polynomial x⁸ + x² + x + 1."""
    table, remainder = _table(), 0
    for byte in header:
        remainder = table[remainder ^ byte]
    return remainder


@lru_cache(maxsize=1)
def _table() -> bytes:
    table = []
    for remainder in range(256):
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x107 if remainder & 0x80 else 0)) & 0x1FF
        table.append(remainder)
    return bytes(table)
