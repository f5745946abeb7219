"""What evaluations leave beside their figures: figures by class, and pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from avsa.errors import UserError

CLASSES = "classes.csv"
PICTURES = {
    "segments.png": "Test crops, their label maps, and what each input makes of them.",
    "confusion.png": "Rows: what is there. Columns: what it is taken for, in percent of the row.",
}


@dataclass(frozen=True)
class ClassTable:
    """A figure by class in percent, means over seeds; None where there is none."""

    what: str
    columns: list[str]  # the share of the class, then checkpoints
    rows: list[tuple[str, list[float | None]]]


def class_table(files: Mapping[str, Sequence[Path]], share: str, what: str) -> ClassTable | None:
    """Join tables by class: the column `share` of the first file, then the column `what` of each checkpoint.

    Args:
        files: by checkpoint, one file per seed; those that do not exist are left out.

    Raises:
        UserError: a file without a column `class` or with something else than numbers.
    """
    read = {name: [_read(path) for path in paths if path.exists()] for name, paths in files.items()}
    tables = {name: [table for table in found if what in table] for name, found in read.items()}
    tables = {name: found for name, found in tables.items() if found}
    if not tables:
        return None
    first = next(iter(tables.values()))[0]
    classes = dict.fromkeys(
        name for found in tables.values() for table in found for column in table.values() for name in column
    )
    rows = [
        (name, [first.get(share, {}).get(name), *(_mean(found, what, name) for found in tables.values())])
        for name in classes
    ]
    return ClassTable(what, [share, *tables], rows)


def _mean(tables: Sequence[dict[str, dict[str, float]]], what: str, name: str) -> float | None:
    values = [table[what][name] for table in tables if name in table[what]]
    return fmean(values) if values else None


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Column -> class -> figure, of the columns that hold numbers; an empty field is no figure."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any("class" not in row or None in row for row in rows):
        raise UserError(f"{path}: no table by class: columns 'class', … are expected")
    names = [name for name in (rows[0] if rows else {}) if name not in ("class", "kind")]
    try:
        return {name: {row["class"]: float(row[name]) for row in rows if row[name]} for name in names}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: no table by class ({error})") from None
