"""A clip's label maps in one file: an animated PNG of grey pictures, each complete and readable on its own.

A picture's data are found by hopping over the chunks before it; only they are decompressed. Programs that know nothing
of animation show the first map, browsers show all of them in turn.

Source: W3C, Portable Network Graphics (PNG) Specification, Third Edition, chunks acTL, fcTL, fdAT.

Shapes: H×W pixels.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def join_maps(maps: Iterable[Map], fps: float) -> bytes:
    """The maps, which are of one size, as an animated PNG that shows `fps` of them per second.

    Raises:
        ValueError: no map, or maps of different sizes.
    """
    heads: set[bytes] = set()
    pictures = []
    for map_HW in maps:
        buffer = io.BytesIO()
        Image.fromarray(map_HW).save(buffer, format="png")
        parts = list(_chunks(buffer.getvalue()))
        heads.add(next(data for kind, data in parts if kind == b"IHDR"))
        pictures.append(b"".join(data for kind, data in parts if kind == b"IDAT"))
    if len(heads) != 1:
        raise ValueError("label maps of different sizes" if heads else "no label maps")
    (head,) = heads
    delay = Fraction(1 / fps).limit_denominator(65535)
    out = [_SIGNATURE, _chunk(b"IHDR", head), _chunk(b"acTL", struct.pack(">II", len(pictures), 0))]
    number = 0
    for picture in pictures:
        control = struct.pack(
            ">IIIIIHHBB", number, *struct.unpack(">II", head[:8]), 0, 0, *delay.as_integer_ratio(), 0, 0
        )
        out.append(_chunk(b"fcTL", control))
        out.append(_chunk(b"fdAT", struct.pack(">I", number + 1) + picture) if number else _chunk(b"IDAT", picture))
        number += 2 if number else 1
    return b"".join([*out, _chunk(b"IEND", b"")])


def is_animated(png: bytes) -> bool:
    """Whether it is an animated PNG, and not a single picture or something else."""
    with contextlib.suppress(ValueError):
        return count_maps(png) > 0
    return False


def count_maps(png: bytes) -> int:
    """Number of maps in what `join_maps` made.

    Raises:
        ValueError: it is something else.
    """
    for kind, data in _chunks(png):
        if kind == b"acTL" and len(data) == 8:
            return int.from_bytes(data[:4], "big")
        if kind == b"IDAT":
            break
    raise ValueError("label maps cannot be read: not an animated PNG")


def read_map(png: bytes, index: int) -> Map:
    """One map of what `join_maps` made.

    Raises:
        ValueError: it is something else, damaged, or has fewer maps.
    """
    head, data, number = b"", b"", -1
    for kind, content in _chunks(png):
        if kind == b"IHDR":
            head = content
        number += kind == b"fcTL"
        if number == index and kind in (b"IDAT", b"fdAT"):
            data += content[4 * (kind == b"fdAT") :]
        if number > index:
            break
    if not data:
        raise ValueError(f"label maps cannot be read: no map {index}")
    return decode_map(b"".join([_SIGNATURE, _chunk(b"IHDR", head), _chunk(b"IDAT", data), _chunk(b"IEND", b"")]))


def decode_map(png: bytes) -> Map:
    """A single picture of 8-bit grey, or of three equal colours.

    Raises:
        ValueError: it cannot be read, or is something else.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"label maps cannot be read ({error})") from error
    if pixels.ndim == 3 and pixels.dtype == np.uint8 and (pixels[..., :1] == pixels[..., :3]).all():
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError("label maps are not a grey 8-bit picture")
    return np.ascontiguousarray(pixels)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's chunks; a damaged one ends where it is."""
    if not png.startswith(_SIGNATURE):
        raise ValueError("label maps cannot be read: not a PNG")
    view, at = memoryview(png), len(_SIGNATURE)
    while at + 12 <= len(png):
        length = int.from_bytes(view[at : at + 4], "big")
        yield bytes(view[at + 4 : at + 8]), bytes(view[at + 8 : at + 8 + length])
        at += length + 12


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))])
