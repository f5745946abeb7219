"""What a reader must know to take the figures for no more than they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from avsa.config import Config
from avsa.report.names import TASKS, display_name
from avsa.report.records import Record


def notes(config: Config, records: Sequence[Record]) -> list[str]:
    """Lines on intervals, seeds, the comparison with the paper, and what was asked for but is not there."""
    lines = [
        "Intervals are 95 % intervals of one trained network on the test recordings. Decisions on one recording are "
        "not independent, so recordings are taken as clusters. An interval says nothing of how another training would "
        "turn out: seeds do.",
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
            "so the row to compare it with is AVC, the control of equal compute."
        )
    return lines + _missing(config, records)


def _missing(config: Config, records: Sequence[Record]) -> list[str]:
    chosen = config.pipeline
    found = {(record.pretext, record.task, record.seed) for record in records}
    absent = []
    for checkpoint, task in product(chosen.checkpoints, chosen.tasks):
        seeds = [str(seed) for seed in chosen.seeds if (checkpoint, task, seed) not in found]
        if seeds:
            numbers = f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"
            absent.append(f"{display_name(checkpoint)} on {TASKS.get(task, task)} ({numbers})")
    return [f"Asked for but not there: {'; '.join(absent)}."] if absent else []
