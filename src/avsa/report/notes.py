"""What a reader must know to take the figures for no more than they are."""

from __future__ import annotations

from collections.abc import Sequence

from avsa.config import Config
from avsa.report.records import Record
from avsa.report.tables import TASKS, Table, display_name


def notes(config: Config, records: Sequence[Record], table: Table) -> list[str]:
    """Lines on intervals, seeds, the comparison with the paper, and what was not measured."""
    decisions = sorted({record.n for record in records})
    counts = f" ({' or '.join(f'{n:,}' for n in decisions)} decisions per figure)" if decisions else ""
    lines = [
        f"Intervals are 95 % intervals of one trained network on the test clips{counts}. The decisions of one clip are "
        "not independent, so clips are taken as clusters. An interval says nothing of how another training would turn "
        "out: seeds do.",
    ]
    if len(config.pipeline.seeds) == 1:
        lines.append("There is one seed: a difference between rows may be luck of one training.")
    elif config.pipeline.seeds:
        lines.append("A mean over seeds is given without an interval: every seed is shown instead.")
    lines.append(
        "The paper’s figures come from other data and larger networks: compare the order of the rows and the gaps "
        "between them, not the values."
    )
    if "avc-long" in config.pipeline.checkpoints:
        lines.append(
            "AVSA starts from AVC and trains on. What it gains over AVC may come from the training alone, "
            "so the row to compare it with is the control, AVC for longer."
        )
    return lines + _missing(config, records, table)


def _missing(config: Config, records: Sequence[Record], table: Table) -> list[str]:
    wanted = [
        (c, t, s) for c in config.pipeline.checkpoints for t in config.pipeline.tasks for s in config.pipeline.seeds
    ]
    found = {(record.pretext, record.task, record.seed) for record in records}
    absent = [f"{display_name(c)} on {TASKS.get(t, t)}, seed {s}" for c, t, s in wanted if (c, t, s) not in found]
    lines = [f"Asked for but not there: {'; '.join(absent)}."] if absent else []
    rows = [row for row in table.rows if not any(cell.records for cell in row.cells.values())]
    names = [f"{row.name}{' with translators' if row.translator else ''}" for row in rows]
    if names:
        lines.append(f"Not measured here: {', '.join(names)}.")
    return lines
