"""The sample table of an MP4 file in memory: where each coded picture lies and which of them start a group.

Opening a file through FFmpeg probes the streams by decoding some of them, which costs more than a short clip's own
decoding; the table of a file that the clip store wrote is all that random access needs. Layout: ISO/IEC 14496-12
(boxes moov/trak/mdia/minf/stbl) and 14496-15 (avcC). Fragmented files are not read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleTable:
    """Coded pictures of an H.264 track without B-frames: decoding order is showing order."""

    offset: Ints  # bytes from the file's start
    size: Ints  # bytes
    key: Ints  # indices of the key pictures, rising
    decoder: bytes  # avcC: the parameter sets

    def __len__(self) -> int:
        return len(self.size)


def read_sample_table(data: bytes) -> SampleTable:
    """The table of the first H.264 track.

    Raises:
        ValueError: not such a file, or a truncated one.
    """
    try:
        return _read_track(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"truncated or damaged MP4 ({error})") from error


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, payload start, payload stop) of the boxes in data[start:stop]."""
    while start < stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            size = stop - start
        if size < header or start + size > stop:
            raise ValueError(f"truncated or damaged MP4 (box {kind.decode('latin-1')!r})")
        yield kind, start + header, start + size
        start += size


def _inside(data: bytes, box: tuple[int, int], *path: bytes) -> tuple[int, int]:
    for kind in path:
        for found, start, stop in _boxes(data, *box):
            if found == kind:
                box = start, stop
                break
        else:
            raise ValueError(f"MP4 without a {kind.decode()!r} box")
    return box


def _read_track(data: bytes) -> SampleTable:
    moov = _inside(data, (0, len(data)), b"moov")
    for kind, start, stop in _boxes(data, *moov):
        if kind != b"trak":
            continue
        media = _inside(data, (start, stop), b"mdia")
        handler, _ = _inside(data, media, b"hdlr")
        if data[handler + 8 : handler + 12] == b"vide":
            table, end = _inside(data, media, b"minf", b"stbl")
            return _read_table(data, {name: (a, b) for name, a, b in _boxes(data, table, end)})
    raise ValueError("MP4 without a video track")


def _column(data: bytes, dtype: str, start: int, count: int) -> Ints:
    return np.frombuffer(data, dtype, count, start).astype(np.int64)


def _read_table(data: bytes, boxes: dict[bytes, tuple[int, int]]) -> SampleTable:
    def header(name: bytes, skip: int = 4) -> tuple[int, int]:
        """(entries, where they start) of a full box."""
        if name not in boxes:
            raise ValueError(f"MP4 without a {name.decode()!r} box")
        start = boxes[name][0] + skip
        return struct.unpack_from(">I", data, start)[0], start + 4

    same_size = struct.unpack_from(">I", data, header(b"stsz")[1] - 4)[0]
    frames, start = header(b"stsz", skip=8)
    size = np.full(frames, same_size) if same_size else _column(data, ">u4", start, frames)

    wide = b"co64" in boxes
    chunks, start = header(b"co64" if wide else b"stco")
    chunk = _column(data, ">u8" if wide else ">u4", start, chunks)
    runs, start = header(b"stsc")
    run = _column(data, ">u4", start, 3 * runs).reshape(runs, 3)
    in_chunk = np.repeat(run[:, 1], np.diff(np.append(run[:, 0] - 1, chunks)))
    before = np.concatenate(([0], np.cumsum(size)))
    first = np.cumsum(in_chunk) - in_chunk
    offset = np.repeat(chunk - before[first], in_chunk) + before[:-1]

    key = np.arange(frames)
    if b"stss" in boxes:
        keys, start = header(b"stss")
        key = _column(data, ">u4", start, keys) - 1
    if b"ctts" in boxes:
        raise ValueError("MP4 with B-frames: the clip store holds none")
    return SampleTable(offset, size, key, _decoder(data, boxes))


def _decoder(data: bytes, boxes: dict[bytes, tuple[int, int]]) -> bytes:
    start, stop = boxes[b"stsd"]
    kind, entry, end = next(_boxes(data, start + 8, stop))
    if kind != b"avc1":
        raise ValueError(f"the video track is {kind.decode('latin-1')!r}, not H.264 (avc1)")
    avcc, avcc_end = _inside(data, (entry + 78, end), b"avcC")
    return data[avcc:avcc_end]
