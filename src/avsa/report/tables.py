"""Table 2 of the paper (accuracy on the binary tasks) with our measurements in its cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean
from typing import Any

import yaml

from avsa.report.records import Record

TASKS = {"avc-bin": "AVC-Bin", "avsa-bin": "AVSA-Bin"}
NAMES = {
    "untrained": ("Untrained", "floor: random weights"),
    "avc": ("AVC", "negatives are other videos"),
    "avc-long": ("AVC, longer", "control of equal compute"),
    "avts": ("AVTS", "negatives are other moments"),
    "avsa": ("AVSA", "negatives are other viewpoints"),
}
PAPER_CROPS = (1, 4)
_SETTING = re.compile(r"(\d+) crops?(, translator)?")


@dataclass(frozen=True)
class Cell:
    """The paper's figure, if it prints one, and our records, one per seed; no record is an empty cell."""

    paper: float | None
    records: tuple[Record, ...]

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return fmean(record.value for record in self.records) if self.records else None


@dataclass(frozen=True)
class Row:
    """One pretext, with or without what its translators predict; cells by (task, crops)."""

    pretext: str
    translator: bool
    cells: dict[tuple[str, int], Cell]

    @property
    def name(self) -> str:
        """The pretext as the field writes it."""
        return display_name(self.pretext)

    @property
    def note(self) -> str:
        """What the pretext is, in a few words."""
        return NAMES.get(self.pretext, ("", ""))[1]


@dataclass(frozen=True)
class Table:
    """Rows in the paper's order; every row has a cell for every column (task, crops)."""

    columns: tuple[tuple[str, int], ...]
    rows: tuple[Row, ...]

    @property
    def several_seeds(self) -> bool:
        """Whether any cell has more than one record."""
        return any(len(cell.records) > 1 for row in self.rows for cell in row.cells.values())


def display_name(pretext: str) -> str:
    """`avsa` -> `AVSA`; names that the paper does not use stay as they are."""
    return NAMES.get(pretext, (pretext, ""))[0]


def paper_results() -> dict[str, Any]:
    """The figures printed in the paper, by table."""
    text = files("avsa.report").joinpath("paper_results.yaml").read_text(encoding="utf-8")
    results: dict[str, Any] = yaml.safe_load(text)
    return results


def parse_setting(setting: str) -> tuple[int, bool] | None:
    """Crops and whether translators take part, of a binary task's setting; None for other tasks' settings."""
    match = _SETTING.fullmatch(setting)
    return (int(match[1]), match[2] is not None) if match else None


def binary_table(records: Sequence[Record], checkpoints: Sequence[str] = ()) -> Table:
    """The paper's rows, the untrained floor, the control of equal compute, and whatever else was asked for or measured.

    Args:
        checkpoints: names that get a row even if nothing of them was measured.
    """
    measured: dict[tuple[str, bool, str, int], list[Record]] = {}
    for record in records:
        setting = parse_setting(record.setting)
        if record.task in TASKS and record.metric == "accuracy" and setting is not None:
            measured.setdefault((record.pretext, setting[1], record.task, setting[0]), []).append(record)
    paper = {
        (str(line["pretext"]), bool(line["transformer"]), task, crops): float(line[key])
        for line in paper_results()["binary"]
        for task in TASKS
        for crops in PAPER_CROPS
        if (key := f"{task.replace('-', '_')}_{crops}") in line
    }
    pretexts = list(dict.fromkeys([*NAMES, *checkpoints, *(key[0] for key in measured)]))
    with_translator = {key[0] for key in (*paper, *measured) if key[1]}
    lines = [(p, t) for p in pretexts for t in (False, True) if not t or p in with_translator]
    crops = sorted({*PAPER_CROPS, *(key[3] for key in measured)})
    columns = tuple((task, k) for task in TASKS for k in crops)
    rows = []
    for pretext, translator in lines:
        keys = {column: (pretext, translator, *column) for column in columns}
        cells = {
            column: Cell(paper.get(key), tuple(sorted(measured.get(key, []), key=lambda r: r.seed)))
            for column, key in keys.items()
        }
        rows.append(Row(pretext, translator, cells))
    return Table(columns, tuple(rows))
