"""One figure is one record; the report gathers the records of all evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from avsa.errors import UserError


class Record(BaseModel):
    """A measured figure in percent with its 95 % interval, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    pretext: str  # name of the checkpoint
    task: str
    setting: str
    metric: str
    value: float
    ci95: tuple[float, float]
    n: int  # decisions
    seed: int
    dataset: str
    run_id: str


_RECORDS = TypeAdapter(list[Record])


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Records of the files that exist, sorted; what was not measured is not there.

    Raises:
        UserError: a file is not a list of records.
    """
    records: list[Record] = []
    for path in paths:
        if not path.exists():
            continue
        try:
            records += _RECORDS.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: not a list of results ({where + ': ' if where else ''}{first['msg']})") from None
    return sorted(records, key=lambda r: (r.task, r.pretext, r.setting, r.metric, r.seed))


def write_records(path: Path, records: Sequence[Record]) -> None:
    """The records as a JSON list."""
    write_json(path, [record.model_dump(mode="json") for record in records])


def nested_means(records: Sequence[Record]) -> dict[str, Any]:
    """task -> pretext -> setting -> metric -> mean over seeds, to two decimals."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for record in records:
        values.setdefault((record.task, record.pretext, record.setting, record.metric), []).append(record.value)
    tree: dict[str, Any] = {}
    for (task, pretext, setting, metric), found in values.items():
        metrics = tree.setdefault(task, {}).setdefault(pretext, {}).setdefault(setting, {})
        metrics[metric] = round(fmean(found), 2)
    return tree


def write_json(path: Path, content: Any) -> None:
    """The whole file or nothing."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """The whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
