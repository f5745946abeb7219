"""A table of the paper with our measurements in its cells: one shape for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean

from avsa.report.records import Record

Found = Mapping[tuple[str, str, str, str], Sequence[Record]]  # by pretext, task, setting, metric


@dataclass(frozen=True)
class Cell:
    """The paper's figure, if it prints one, and our records, one per seed; no record is an empty cell."""

    paper: float | None
    records: tuple[Record, ...]
    folds: tuple[Record, ...] = ()  # of all splits of the task, where others than the first were measured
    other: str = ""  # what was measured, where it is not what the column and the row are first about

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return fmean(record.value for record in self.records) if self.records else None

    @property
    def fold_mean(self) -> tuple[str, float] | None:
        """`1–3` and the mean over splits of the means over seeds; None where no split but the first was measured."""
        values: dict[str, list[float]] = {}
        for record in self.folds:
            values.setdefault(record.task.rsplit("-", 1)[-1], []).append(record.value)
        splits = sorted(values)
        named = f"{splits[0]}–{splits[-1]}" if len(splits) > 2 else " and ".join(splits)
        return (named, fmean(fmean(values[split]) for split in splits)) if splits else None


@dataclass(frozen=True)
class Column:
    """A metric of a task, in the first of some settings that was measured."""

    key: str  # of the paper's figure
    group: str  # heading over several columns
    name: str
    task: str
    metric: str
    settings: tuple[str, ...] = ("",)  # the row's own setting comes after it
    plot: str = ""  # name of the picture that shows it, if any
    folds: tuple[str, ...] = ()  # tasks that are the other splits


@dataclass(frozen=True)
class Line:
    """What a row is about: the first of some checkpoints that was measured, and the paper's figures by column."""

    pretexts: tuple[str, ...]
    setting: str
    name: str
    note: str = ""
    label: str = ""  # the setting in words
    group: str = ""  # heading over several rows
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line with its cells by column key."""

    line: Line
    cells: dict[str, Cell]

    @property
    def id(self) -> str:
        """What tells it from the table's other rows."""
        line = self.line
        return f"{line.group}/{line.name}" if line.group else " ".join(s for s in (line.pretexts[0], line.setting) if s)


@dataclass(frozen=True)
class Table:
    """Rows in the paper's order; every row has a cell for every column."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def records(self) -> list[Record]:
        """All that stands in a cell."""
        return [record for row in self.rows for cell in row.cells.values() for record in (*cell.records, *cell.folds)]

    @property
    def several_seeds(self) -> bool:
        """Whether any cell has more than one record."""
        return any(len(cell.records) > 1 for row in self.rows for cell in row.cells.values())

    @property
    def datasets(self) -> list[str]:
        """What its figures were measured on."""
        return sorted({record.dataset for record in self.records})

    def opens(self, column: Column) -> bool:
        """Whether the column is the first under its heading."""
        return next(c for c in self.columns if c.group == column.group) is column

    @property
    def headings(self) -> list[tuple[str, int]]:
        """Headings over columns, each with the number of columns that it spans."""
        return [(name, len(list(columns))) for name, columns in groupby(self.columns, key=lambda c: c.group)]

    @property
    def blocks(self) -> list[tuple[str, list[Row]]]:
        """Headings over rows, each with its rows."""
        return [(name, list(rows)) for name, rows in groupby(self.rows, key=lambda row: row.line.group)]


def fill(name: str, columns: Sequence[Column], lines: Iterable[Line], records: Iterable[Record]) -> Table:
    """Cells hold the records of the first checkpoint of their line that has any, in the column's first setting."""
    found: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        found.setdefault((record.pretext, record.task, record.setting, record.metric), []).append(record)
    rows = [Row(line, {column.key: _cell(line, column, found) for column in columns}) for line in lines]
    return Table(name, tuple(columns), tuple(rows))


def settings(column: Column, setting: str) -> list[str]:
    """The column's settings, each with the row's: `4 crops` and `translator` are `4 crops, translator`."""
    return [", ".join(part for part in (own, setting) if part) for own in column.settings]


def _cell(line: Line, column: Column, found: Found) -> Cell:
    paper = line.paper.get(column.key)
    wanted = [(pretext, setting) for pretext in line.pretexts for setting in settings(column, line.setting)]
    for pretext, setting in wanted:
        first, *others = (
            found.get((pretext, task, setting, column.metric), ()) for task in (column.task, *column.folds)
        )
        folds = tuple(record for split in (first, *others) for record in split)
        if folds:
            differs = [name for name, usual in zip((pretext, setting), wanted[0], strict=True) if name != usual]
            return Cell(paper, tuple(first), folds if any(others) else (), " · ".join(differs))
    return Cell(paper, ())
