"""Stages that DVC restored from its cache: no process ran, so who looks next leaves a run that points to the maker.

``runs/stages.json`` holds the outputs of each stage as this workspace last saw them, and at which commit. Where
dvc.lock now says something else and no run of this workspace made it, DVC took it from its cache; what came with
another commit is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avsa.tracking.environment import code_version, experiment_tags, source_tags
from avsa.tracking.items import DATA, OUTPUT, Item
from avsa.tracking.locks import LOCK, File, Step, parse_lock, workspace_steps
from avsa.tracking.records import RESTORED, Records, maker_in_cache

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEEN = Path("runs/stages.json")
Seen = dict[str, tuple[File, ...]]


def note_made(root: Path, stage: str, outputs: Sequence[Item]) -> None:
    """A run of this workspace made these outputs of the stage."""
    commit, seen = _read(root)
    _write(root, commit, {**seen, stage: tuple(sorted((item.path, item.hash) for item in outputs))})


def record_restored(root: Path, client: MlflowClient, experiment_id: str, running: str | None = None) -> list[str]:
    """A run for every stage that was restored since the last look, below the run that made its outputs.

    Args:
        running: the stage of this process, of which dvc.lock still says what was before.

    Returns:
        The stages.
    """
    steps = {step.stage: step for step in workspace_steps(root) if step.stage != running}
    now = {name: step.writes for name, step in steps.items()}
    commit, committed = _head(root)
    last, seen = _read(root)
    came = committed if commit != last else {}
    restored = [step for name, step in steps.items() if now[name] not in (seen.get(name), came.get(name))]
    if restored:
        from dvc.repo import Repo

        records = Records(client)
        with Repo(str(root)) as repo:
            makers = {step.stage: maker_in_cache(repo, root, step) or _first(records, step) for step in restored}
        restored = [step for step in restored if makers[step.stage]]
        for step in restored:
            _record(client, experiment_id, step, str(makers[step.stage]))
    if (commit, {**seen, **now}) != (last, seen):
        _write(root, commit, {**seen, **now})
    return [step.stage for step in restored]


def _record(client: MlflowClient, experiment_id: str, step: Step, maker: str) -> None:
    from mlflow.exceptions import MlflowException

    from avsa.tracking.deliver import log_items

    tags = {RESTORED: maker, "dvc.stage": step.stage, **source_tags(), **code_version(), **experiment_tags()}
    tags["dvc.stage"] = step.stage  # not the one that looks
    try:
        made = client.get_run(maker)
        tags |= {"mlflow.parentRunId": maker, "avsa.stage": made.data.tags.get("avsa.stage", "")}
        experiment_id = made.info.experiment_id
    except MlflowException:  # it was made with another tracking store
        pass
    run = client.create_run(experiment_id, tags=tags, run_name=f"{step.stage} restored")
    items = [Item(*file, OUTPUT) for file in step.writes] + [Item(*file, DATA) for file in step.reads]
    log_items(client, run.info.run_id, [item.plain() for item in items])
    client.set_terminated(run.info.run_id, "FINISHED")


def _first(records: Records, step: Step) -> str | None:
    """The first run that made exactly these outputs."""
    made = [run for run in records.made(step) if RESTORED not in run.data.tags]
    return made[0].info.run_id if made else None


def _head(root: Path) -> tuple[str, Seen]:
    """The current commit, and the outputs that its dvc.lock has."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        steps = parse_lock(git("show", f"HEAD:./{LOCK}"), "HEAD")
        return commit, {step.stage: step.writes for step in steps}
    except (OSError, subprocess.CalledProcessError):
        return "", {}


def _read(root: Path) -> tuple[str, Seen]:
    try:
        content = json.loads((root / SEEN).read_text(encoding="utf-8"))
        stages = content["stages"].items()
        return content["commit"], {stage: tuple((path, hash_) for path, hash_ in files) for stage, files in stages}
    except (OSError, ValueError, KeyError):
        return "", {}


def _write(root: Path, commit: str, seen: Mapping[str, Sequence[File]]) -> None:
    path = root / SEEN
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"commit": commit, "stages": seen}, indent=1), encoding="utf-8")
    os.replace(temporary, path)
