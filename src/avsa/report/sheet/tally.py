"""What the manifest and the ledger say, counted in one pass over their lines."""

from __future__ import annotations

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from avsa.clips.clip import Clip
from avsa.clips.ledger import LEDGER, Refusal
from avsa.errors import UserError

_USUAL = ("train", "val", "test")


@dataclass
class SplitTally:
    """The clips of one split."""

    numbers: array[int] = field(default_factory=lambda: array("L"))  # places in the manifest
    recordings: Counter[str] = field(default_factory=Counter)  # clips by source
    origins: set[str] = field(default_factory=set)  # ids at the source where they are known, else sources
    durations: array[float] = field(default_factory=lambda: array("d"))
    figures: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    labelled: int = 0  # clips with label maps
    bytes: int = 0  # of all members


@dataclass
class Tally:
    """All clips: by split, by what they are, and those whose members have the same lengths.

    Attributes:
        stored: clips by width, height, frames per second, samples per second.
        lengths: places in the manifest by the lengths of picture and sound.
    """

    splits: dict[str, SplitTally]
    stored: Counter[tuple[int, int, float, int]]
    lengths: dict[tuple[int, int], list[int]]

    @property
    def clips(self) -> int:
        """How many there are."""
        return sum(len(split.numbers) for split in self.splits.values())

    @property
    def seconds(self) -> float:
        """How long they are together."""
        return sum(sum(split.durations) for split in self.splits.values())

    def named(self) -> list[str]:
        """The figures of the checks that any clip has, in the manifest's order."""
        return list(dict.fromkeys(name for split in self.splits.values() for name in split.figures))


def tally_clips(clips: Iterable[Clip]) -> Tally:
    """Count; a clip is forgotten once it is counted."""
    splits: dict[str, SplitTally] = {}
    tally = Tally(splits, Counter(), defaultdict(list))
    for number, clip in enumerate(clips):
        split = splits.setdefault(clip.split, SplitTally())
        split.numbers.append(number)
        split.recordings[clip.source] += 1
        split.origins.add(clip.origin or clip.source)
        split.durations.append(clip.duration_s)
        for name, figure in clip.checks.items():
            split.figures[name].append(figure)
        split.labelled += "segm.png" in clip.members
        split.bytes += sum(length for _, length in clip.members.values())
        tally.stored[clip.width, clip.height, clip.fps, clip.sample_rate] += 1
        if {"mp4", "flac"} <= clip.members.keys():
            tally.lengths[clip.members["mp4"][1], clip.members["flac"][1]].append(number)
    tally.lengths = {lengths: same for lengths, same in tally.lengths.items() if len(same) > 1}
    tally.splits = dict(sorted(splits.items(), key=lambda item: _place(item[0])))
    return tally


def _place(split: str) -> tuple[bool, str]:
    """train, val, test, then others by name."""
    return split not in _USUAL, str(_USUAL.index(split)) if split in _USUAL else split


@dataclass
class Refused:
    """What one check refused; `examples` are drawn at random, in the ledger's order.

    Attributes:
        whole: how many of them are whole recordings, not clips.
        figures: those that missed the threshold, where the check has one.
    """

    check: str
    count: int = 0
    whole: int = 0
    figures: array[float] = field(default_factory=lambda: array("d"))
    thresholds: Counter[float] = field(default_factory=Counter)
    examples: list[tuple[int, Refusal]] = field(default_factory=list)


def tally_refused(root: Path, examples: int, seed: int = 0) -> list[Refused]:
    """The ledger by check, the most frequent first.

    Raises:
        UserError: it is damaged.
    """
    checks: dict[str, Refused] = {}
    draw = random.Random(seed)
    for number, refusal in enumerate(_ledger(root)):
        refused = checks.setdefault(refusal.check, Refused(refusal.check))
        refused.count += 1
        refused.whole += refusal.start_s is None
        if refusal.figure is not None:
            refused.figures.append(refusal.figure)
        if refusal.threshold is not None:
            refused.thresholds[refusal.threshold] += 1
        if len(refused.examples) < examples:
            refused.examples.append((number, refusal))
        elif (place := draw.randrange(refused.count)) < examples:  # every one is as likely to be kept (reservoir)
            refused.examples[place] = (number, refusal)
    for refused in checks.values():
        refused.examples.sort(key=lambda example: example[0])
    return sorted(checks.values(), key=lambda refused: -refused.count)


def _ledger(root: Path) -> Iterator[Refusal]:
    path = root / LEDGER
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Refusal.model_validate_json(line)
            except ValidationError as error:
                raise UserError(f"{path}, line {number}: not an entry of the ledger: run ingest again") from error
