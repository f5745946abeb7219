"""YT-360's label maps: pairs of pictures, things-%04d.png and stuff-%04d.png, four a second, in folders or archives.

The index of a map is int(4 · seconds). A pixel of things is a class 0 … 79, or 80 where there is none; of stuff 0 … 53,
or 54. Merged, stuff follows things (80 … 133), and 255 is neither.

Archives (.zip, .tar) are read where they lie: a member's bytes are found by their offset, nothing is unpacked.

Shapes: H×W pixels.
"""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from avsa.clips.label_maps import Map, decode_map
from avsa.errors import UserError

THINGS, STUFF = 80, 54
IGNORE = 255
FPS = 4.0

_KINDS = ("things", "stuff")
_PICTURE = re.compile(r"(things|stuff)-(\d{4})\.png")
_RAW, _LARGEST = -1, 1 << 26  # "method" of a member of a tar; bytes of a picture, more is a damaged or hostile archive
_Row = tuple[int, ...]  # kind, index, offset, length, method


@dataclass(frozen=True)
class PanopticMaps:
    """The maps of one clip: a folder of pictures, or an archive and where in it they are.

    Attributes:
        path: the folder, or the archive.
        members: for an archive, rows of five int64: kind, index, offset, length in the archive, compression method.
    """

    path: Path
    members: bytes | None = field(default=None, repr=False)

    @cached_property
    def _where(self) -> dict[tuple[int, int], _Row | Path]:
        if self.members is not None:
            rows = np.frombuffer(self.members, np.int64).reshape(-1, 5).tolist()
            return {(row[0], row[1]): tuple(row) for row in rows}
        found = ((path, _PICTURE.fullmatch(path.name)) for path in self.path.iterdir())
        return {(_KINDS.index(match[1]), int(match[2])): path for path, match in found if match}

    def indices(self) -> list[int]:
        """The indices that have both pictures, sorted.

        Raises:
            ValueError: one of a pair is missing, or there is no pair.
            OSError: the folder cannot be read.
        """
        things, stuff = ({index for kind, index in self._where if kind == wanted} for wanted in (0, 1))
        if lonely := sorted(things ^ stuff):
            kinds = _KINDS if lonely[0] in things else _KINDS[::-1]
            raise ValueError(f"{self.path.name} has {kinds[0]}-{lonely[0]:04d}.png without {kinds[1]}")
        if not things:
            raise ValueError(f"{self.path.name} holds no label maps")
        return sorted(things)

    def read(self, index: int) -> Map:
        """The map `map_HW` of an index, things over stuff.

        Raises:
            ValueError: a picture is damaged, of another size than its companion, or holds an unknown class.
            OSError: a file cannot be read.
        """
        things_HW, stuff_HW = (decode_map(self._bytes(self._where[kind, index])) for kind in (0, 1))
        if things_HW.shape != stuff_HW.shape:
            raise ValueError(f"things and stuff of map {index} have different sizes")
        for name, found, none in (("things", things_HW, THINGS), ("stuff", stuff_HW, STUFF)):
            if found.max() > none:
                raise ValueError(f"class {found.max()} in {name}-{index:04d}.png: {none} is the highest")
        stuff_HW = np.where(stuff_HW == STUFF, IGNORE, stuff_HW + THINGS)
        return np.where(things_HW == THINGS, stuff_HW, things_HW).astype(np.uint8)

    def _bytes(self, where: _Row | Path) -> bytes:
        if isinstance(where, Path):
            return where.read_bytes()
        _, _, offset, length, method = where
        with self.path.open("rb") as archive:
            archive.seek(offset)
            if method != _RAW:  # a zip's member: its own header tells where the data begin
                name, extra = struct.unpack("<26x2H", archive.read(30))
                archive.seek(name + extra, 1)
            data = archive.read(length)
        if method != zipfile.ZIP_DEFLATED:
            return data
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _LARGEST)
        except zlib.error as error:
            raise ValueError(f"{self.path.name} is damaged ({error})") from error


def find_maps(raw: Path) -> dict[str, PanopticMaps]:
    """The label maps of each clip, by the name of the folder they lie in.

    They are looked for in folders ``segmentation/CLIP/``, in archives ``segmentation/CLIP.zip`` (or .tar), and in
    archives ``segmentation*.zip`` beside or inside the folder ``segmentation`` that hold folders named CLIP.

    Raises:
        UserError: an archive is damaged, compressed as a whole, encrypted, or a member's path leads out of it.
    """
    found: dict[str, PanopticMaps] = {}
    inside = sorted((raw / "segmentation").iterdir()) if (raw / "segmentation").is_dir() else []
    for path in [*sorted(raw.glob("segmentation*")), *inside]:
        if path.parent != raw and path.is_dir():
            found[path.name] = PanopticMaps(path)
        elif re.search(r"\.(zip|tar|tgz|tar\.\w+)$", path.name) and path.is_file():
            found.update(_archived(path))
    return found


def _archived(archive: Path) -> dict[str, PanopticMaps]:
    rows: defaultdict[str, list[_Row]] = defaultdict(list)
    try:
        for name, offset, length, method in _zipped(archive) if archive.suffix == ".zip" else _tarred(archive):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(f"{archive}: the member {name} leads out of the archive: it is not read")
            if match := _PICTURE.fullmatch(path.name):
                clip = path.parent.name if path.parent.name not in ("", "segmentation") else archive.stem
                rows[clip].append((_KINDS.index(match[1]), int(match[2]), offset, length, method))
    except (zipfile.BadZipFile, tarfile.TarError, OSError, ValueError) as error:
        raise UserError(f"{archive} cannot be read: {error}; unpack it, or make it a .zip or plain .tar") from None
    return {clip: PanopticMaps(archive, np.array(found, np.int64).tobytes()) for clip, found in rows.items()}


def _zipped(archive: Path) -> Iterator[tuple[str, int, int, int]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if member.is_dir():
                continue
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename} is encrypted or of an unusual compression")
            if max(member.file_size, member.compress_size) > _LARGEST:
                raise ValueError(f"{member.filename} has {member.file_size} bytes")
            yield member.filename, member.header_offset, member.compress_size, member.compress_type


def _tarred(archive: Path) -> Iterator[tuple[str, int, int, int]]:
    with tarfile.open(archive, "r:") as file:
        while member := file.next():
            file.members = []  # type: ignore[attr-defined]  # else it remembers them all
            if member.size > _LARGEST:
                raise ValueError(f"{member.name} has {member.size} bytes")
            if member.isreg() and not member.issparse():
                yield member.name, member.offset_data, member.size, _RAW
