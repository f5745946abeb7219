"""Readers of UCF-101 and HMDB-51 as they are distributed: which video has which class, in which fold.

UCF-101 (Soomro et al. 2012) lies in ``ucf101``: ``UCF-101/<Class>/v_<Class>_gXX_cYY.avi`` and, in ``ucfTrainTestlist``,
classInd.txt (``number Class``, from 1), trainlist0N.txt (``Class/video number``) and testlist0N.txt (``Class/video``).
HMDB-51 (Kuehne et al. 2011) lies in ``hmdb51``: ``<class>/<name>.avi`` and, in ``testTrainMulti_7030_splits``, a list
``<class>_test_splitN.txt`` for each class (``name.avi`` and 0 for unused, 1 for train, 2 for test). Its names are the
title of the film, the class, five attributes and the number of the clip: ``title_class_u_nm_np1_fr_goo_0.avi``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from avsa.errors import UserError

ActionSet = Literal["ucf101", "hmdb51"]
FOLDS = (1, 2, 3)


@dataclass(frozen=True)
class ActionVideo:
    """A labelled video. Videos of one ``source`` (a group of UCF-101, a film of HMDB-51) are not independent."""

    path: Path
    label: int  # index into the split's classes

    @property
    def name(self) -> str:
        """Class folder and file, as the lists have it."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def source(self) -> str:
        """The title in a name such as HMDB-51's, else the name without the number of the clip.

        A second number before the clip's is that of a group, which the synthetic set has: its titles are not of films.
        """
        title = re.fullmatch(rf"(.+)_{re.escape(self.path.parent.name)}_.*\D_\d+", self.path.stem)
        return title[1] if title else re.sub(r"_c?\d+$", "", self.name.removesuffix(self.path.suffix))


@dataclass(frozen=True)
class ActionSplit:
    """A fold of a data set."""

    classes: tuple[str, ...]
    train: tuple[ActionVideo, ...]
    test: tuple[ActionVideo, ...]


def parse_task(task: str) -> tuple[ActionSet, int]:
    """Data set and fold of a task name such as ``ucf101-1``.

    Raises:
        UserError: no such data set or fold.
    """
    name, _, fold = task.partition("-")
    for known in get_args(ActionSet):
        if name == known and fold in map(str, FOLDS):
            return known, int(fold)
    if name in get_args(ActionSet):
        raise UserError(f"{task}: {name} has the folds 1, 2 and 3")
    raise UserError(f"no action data set {name!r}: choose one of {', '.join(get_args(ActionSet))}")


def data_set_name(root: Path, name: ActionSet) -> str:
    """What results call the data set in ``root / name``: the synthetic one, which carries its settings, as such."""
    return f"motion ({name})" if (root / name / "motion.json").exists() else name


def read_split(root: Path, name: ActionSet, fold: int) -> ActionSplit:
    """The fold of the data set in ``root / name``; the number of classes is what the files say.

    Raises:
        UserError: no data set there, a missing or malformed list, a class number out of range or of another class, a
            video that does not exist, a fold without training or test videos.
    """
    folder = root / name
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no data set here: set evaluate.action.root, or render the synthetic one: avsa motion"
        )
    split = _read_ucf(folder, fold) if name == "ucf101" else _read_hmdb(folder, fold)
    for part, videos in (("training", split.train), ("test", split.test)):
        if not videos:
            raise UserError(f"{folder}: fold {fold} lists no {part} videos")
    return split


def held_out(split: ActionSplit, every: int = 5) -> ActionSplit:
    """A fold of the training videos alone, for choices that the test videos must not know: of the sources of each
    class, in order of name, the first of every five is tested on and the others are trained on.

    Raises:
        UserError: no class has two sources.
    """
    sources = sorted({(video.label, video.source) for video in split.train})
    of_class = [[source for source in sources if source[0] == label] for label in range(len(split.classes))]
    held = {source for those in of_class if len(those) > 1 for source in those[::every]}
    if not held:
        raise UserError("no training videos can be held out: every class has a single source")
    parts: dict[bool, list[ActionVideo]] = {True: [], False: []}
    for video in split.train:
        parts[(video.label, video.source) in held].append(video)
    return ActionSplit(split.classes, tuple(parts[False]), tuple(parts[True]))


def _read_ucf(folder: Path, fold: int) -> ActionSplit:
    lists = folder / "ucfTrainTestlist"
    classes = _read_classes(lists / "classInd.txt")
    number = {name: index for index, name in enumerate(classes)}

    def read(path: Path) -> Iterator[ActionVideo]:
        for where, line in _lines(path):
            name, label = (re.fullmatch(r"(.+\.\w+)(?:\s+(\S+))?", line) or _refuse(where, line)).groups()
            own = name.partition("/")[0]
            if own not in number:
                raise UserError(f"{where}: class {own!r} is not in {lists / 'classInd.txt'}")
            if label is not None and not (label.isdecimal() and 1 <= int(label) <= len(classes)):
                raise UserError(f"{where}: class number {label} is out of range: classInd.txt has 1 … {len(classes)}")
            if label is not None and int(label) - 1 != number[own]:
                raise UserError(f"{where}: {own} is class {number[own] + 1}, not {label}")
            yield ActionVideo(_existing(folder / "UCF-101" / name, where), number[own])

    train, test = (tuple(read(lists / f"{part}list{fold:02d}.txt")) for part in ("train", "test"))
    return ActionSplit(classes, train, test)


def _read_classes(path: Path) -> tuple[str, ...]:
    classes: list[str] = []
    for where, line in _lines(path):
        number, _, name = line.partition(" ")
        if number != str(len(classes) + 1) or not name:
            raise UserError(f"{where}: expected '{len(classes) + 1} Class', found {line!r}")
        classes.append(name.strip())
    return tuple(classes)


def _read_hmdb(folder: Path, fold: int) -> ActionSplit:
    lists, ending = folder / "testTrainMulti_7030_splits", f"_test_split{fold}.txt"
    paths = sorted(lists.glob(f"*{ending}"))
    if not paths:
        raise UserError(f"{lists}: no lists *{ending}")
    classes = tuple(path.name.removesuffix(ending) for path in paths)
    for own in sorted({path.parent.name for path in folder.glob("*/*.avi")} - set(classes)):
        raise UserError(f"{lists / (own + ending)}: no such list, but {folder / own} holds videos: add it")
    parts: dict[str, list[ActionVideo]] = {"0": [], "1": [], "2": []}
    for label, path in enumerate(paths):
        for where, line in _lines(path):
            name, _, part = line.rpartition(" ")
            if not name or part not in parts:
                raise UserError(f"{where}: expected 'name.avi' and 0, 1 or 2, found {line!r}")
            if part != "0":
                parts[part].append(ActionVideo(_existing(folder / classes[label] / name.strip(), where), label))
    return ActionSplit(classes, tuple(parts["1"]), tuple(parts["2"]))


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(file and number, text) of the lines that are not empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such list: the data set's split files belong there") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _refuse(where: str, line: str) -> re.Match[str]:
    raise UserError(f"{where}: expected 'Class/video.avi', found {line!r}")


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise UserError(f"{where}: no such video: {path}")
    return path
