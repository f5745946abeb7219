"""The verb ``register``: the best checkpoint as a version of the registered model."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from avsa.errors import UserError
from avsa.report.records import Record, read_records
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.stages.serve import STATISTICS
from avsa.tracking.registry import Version, register
from avsa.tracking.run_file import RUN_FILE, read_run_file
from avsa.tracking.store import open_store


def run_register(resolved: Resolved, run: str | None, seed: int, task: str, name: str, alias: str) -> str:
    """Register a run's network, or the one with the best mean of ``task`` among all results; a line for the user.

    Raises:
        UserError: nothing was measured, no such checkpoint, one of another tracking store.
    """
    config, records = resolved.config, read_records([paths.RESULTS])
    if run is None:
        run, seed = best(records, task)
    network = paths.network(run, seed)
    if not network.exists():
        raise UserError(f"{network}: no such checkpoint; dvc pull brings those of the pipeline")
    if run not in config.pretrain.runs:
        raise UserError(f"{run} is no run under pretrain.runs: only what was trained can be registered")
    own = [record for record in records if (record.pretext, record.seed) == (run, seed)]
    made = read_run_file(paths.checkpoint(run, seed) / RUN_FILE) or {}
    extra = {STATISTICS: paths.statistics(config)}
    text = card(run, seed, made.get("run_id", "unknown"), own, config.dataset, network)
    found = register(open_store(config.tracking), name, alias, network, extra, config, text)
    return _said(found, alias, run, seed)


def best(records: list[Record], task: str) -> tuple[str, int]:
    """Run and seed with the highest mean accuracy over the settings of a task."""
    values: dict[tuple[str, int], list[float]] = {}
    for record in records:
        if record.task == task and record.metric == "accuracy":
            values.setdefault((record.pretext, record.seed), []).append(record.value)
    if not values:
        raise UserError(f"no results of {task} in {paths.RESULTS}: evaluate first, or name a run")
    return max(values, key=lambda key: fmean(values[key]))


def card(run: str, seed: int, run_id: str, records: list[Record], dataset: str, network: Path) -> str:
    """The model card, Markdown."""
    rows = [
        f"| {r.task} | {r.setting} | {r.metric} | {r.value:.1f} [{r.ci95[0]:.1f}, {r.ci95[1]:.1f}] | {r.n} |"
        for r in records
    ]
    table = ["| task | setting | metric | percent, 95 % interval | n |", "| --- | --- | --- | --- | --- |", *rows]
    return "\n".join(
        [
            f"# {run}, seed {seed}",
            "",
            f"Video and audio encoders, pre-trained without labels on {dataset} (360° video, first-order ambisonics).",
            "In: a 360° clip, path or base64. Out: features per viewpoint, and how well sound and picture agree.",
            "",
            f"Trained by MLflow run `{run_id}`; weights are `{network}` under DVC. `avsa lineage {run_id}` says from",
            "which data, code and configuration.",
            "",
            *(table if rows else ["Nothing was measured of it."]),
            "",
            f"Limits: the figures are of {dataset}; other cameras, microphones and scenes were not measured. The score",
            "compares the viewpoints of one clip, so clips of different places do not compare.",
        ]
    )


def _said(found: Version, alias: str, run: str, seed: int) -> str:
    what = "now" if found.new else "already"
    return f"{run}, seed {seed}: {what} {found.uri}, models:/{found.name}@{alias}"
