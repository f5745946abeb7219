"""What a layout is, and what it finds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from avsa.clips.ledger import Refusal
from avsa.clips.sources.panoptic import PanopticMaps
from avsa.errors import UserError

SPLITS = ("train", "val", "test")
VIDEO = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".webm")
AUDIO = (".m4a", ".wav", ".flac", ".ogg", ".opus", ".webm")

# 64 bits in base 64: the last character carries four of them.
YOUTUBE = r"[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]"


@dataclass(frozen=True)
class Recording:
    """One video with what belongs to it; paths are absolute, `source` is the video's path below the raw folder.

    Attributes:
        source: what ledger and manifest call it.
        split: one of train, val, test.
        name: unique, of [A-Za-z0-9_-], at most 72 characters: the stem of its clips' ids.
        video: None for sound without a picture, which is refused.
        audio: None where the sound is in the video file.
        labels: label maps of the whole recording, from its start on.
        truth: a .json as synth360 has it, or a metadata .csv of STARSS23.
        origin: the recording's id where it comes from, such as the one YouTube gave; empty where it is not known. Two
            recordings of one origin are the same film.
        segments: where the listed clips start, in seconds; None where none are listed.
        segment_labels: label maps of each listed clip, from the clip's start on; empty where there are none.
        channel_order: of its sound (`avsa.ambisonics.foa`), where its source says so; ``clips.channel_order`` says what
            holds for all.
        refused: what the layout has against it; it is not opened then.
    """

    source: str
    split: str
    name: str
    video: Path | None
    audio: Path | None = None
    labels: Path | PanopticMaps | None = None
    truth: Path | None = None
    origin: str = ""
    segments: tuple[float, ...] | None = None
    segment_labels: tuple[PanopticMaps | None, ...] = ()
    channel_order: str = ""
    refused: Refusal | None = None

    def stamp(self) -> str:
        """Changes whenever one of the files does: size and modification time of each; of a folder, its own."""
        parts = [self.source, self.split, self.name, self.origin, repr(self.segments), str(self.refused)]
        parts.append(self.channel_order)
        for item in (self.video, self.audio, self.labels, self.truth, *self.segment_labels):
            path = item.path if isinstance(item, PanopticMaps) else item
            try:
                status = path.stat() if path else None
            except OSError:
                status = None
            parts.append(f"{path and path.name}:{status and (status.st_size, status.st_mtime_ns)}")
        return "\n".join(parts)


@dataclass(frozen=True)
class Found:
    """The recordings of a folder, and the content of ``classes.json`` if their label maps have classes."""

    recordings: list[Recording]
    classes: bytes | None = None


@dataclass(frozen=True)
class Layout:
    """How a data set lies in a folder.

    Label maps ``NAME.segm.png`` beside a video, and ``classes.json``, as `avsa segment` leaves them, belong to all.

    Attributes:
        name: its value of ``clips.layout``.
        sign: what it is recognised by, as a message says it.
        recognise: whether a folder is laid out so; it looks, cheaply, and raises nothing.
        find: the recordings in a folder, given the folder of lists (``data/lists``) for what the folder itself lacks.
            It raises UserError for what concerns the data set, such as a damaged list; what is wrong with one recording
            goes into its `refused`.
    """

    name: str
    sign: str
    recognise: Callable[[Path], bool]
    find: Callable[[Path, Path], Found] = field(repr=False)


def media_files(folder: Path) -> Iterator[Path]:
    """Video and sound files below a folder, sorted within each folder; hidden ones are left out.

    Raises:
        UserError: a folder cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        shown = (name for name in folders if not name.startswith("."))
        folders[:] = sorted(name for name in shown if not _leads_back(Path(parent), name))
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in {*VIDEO, *AUDIO} and not name.startswith("."):
                yield path


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _leads_back(parent: Path, name: str) -> bool:
    """Whether it is a link to a folder that it lies in: to follow it would never end."""
    path = parent / name
    return path.is_symlink() and parent.resolve().is_relative_to(path.resolve())


def beside(media: Path, suffix: str) -> Path | None:
    """A file that has the name of another but for its suffix, if there is one."""
    path = media.with_suffix(suffix)
    return path if path.is_file() else None


def own_classes(raw: Path) -> bytes | None:
    """The folder's ``classes.json``, if it has one."""
    path = raw / "classes.json"
    return path.read_bytes() if path.is_file() else None


def youtube_id(stem: str) -> str:
    """The YouTube id that a file's stem is, begins with (``ID-54``, ``ID_54``) or ends with (``title [ID]``), or ""."""
    match = re.fullmatch(rf"({YOUTUBE})(?:[-_]\d+)?|.*\[({YOUTUBE})\]", stem)
    if match is None or re.fullmatch(rf"(?:{'|'.join(SPLITS)})-\d+", stem):
        return ""
    return match[1] or match[2]


def find_list(name: str, raw: Path, lists: Path, dataset: str) -> Path | None:
    """A list's file: in the raw folder, else in ``<lists>/<name of the raw folder>``, else in ``<lists>/<dataset>``."""
    places = (raw, lists / raw.name, lists / dataset)
    return next((place / name for place in places if (place / name).is_file()), None)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of a list's lines that are not empty.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())


def read_splits(paths: dict[str, Path]) -> dict[str, str]:
    """The split of every id, from a list of ids per split.

    Raises:
        UserError: a list cannot be read, or an id is in two of them.
    """
    return one_split_each((line.split()[0], split) for split, path in paths.items() for _, line in read_lines(path))


def one_split_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Ids and their splits as a dictionary.

    Raises:
        UserError: an id has two splits.
    """
    split_of: dict[str, str] = {}
    twice = []
    for name, split in pairs:
        if split_of.setdefault(name, split) != split:
            twice.append(f"{name} is in {split_of[name]} and in {split}")
    if twice:
        more = f" ({len(twice)} such ids)" if len(twice) > 1 else ""
        raise UserError(f"{twice[0]}{more}: remove it from one, or what is trained on is tested on")
    return split_of
