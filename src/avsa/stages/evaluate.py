"""The stage ``evaluate``: one network, one task, all its settings."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from avsa.config import Config, Task
from avsa.engine import distributed
from avsa.errors import UserError
from avsa.models.checkpoint import load_network
from avsa.models.encoder import Encoder, identity, is_encoder_name, load_encoder, short_name
from avsa.report.records import Record, write_records
from avsa.resolve import Resolved, fingerprint
from avsa.stages import paths
from avsa.stages.job import Figure, Job
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file


def run_evaluate(resolved: Resolved, checkpoint: str, task: str, seed: int, name: str | None = None) -> None:
    """Write ``results.json`` (records as the README describes them) and what the task draws; the run keeps both.

    What an earlier evaluation of the same name left is replaced by a whole one only. An interrupted training goes on
    where it was, in the same run; that of a linear head on frozen features starts again.

    Args:
        checkpoint: a pre-training run, or an encoder as :mod:`avsa.models.encoder` names them.
        name: what results call it; by default the run's name, or the encoder's short one.

    Raises:
        UserError: an unknown task, a missing checkpoint, an empty split, a name that is none of a folder, several
            processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("avsa evaluate runs in one process: start it without torchrun")
    measure, config = measurement(task), resolved.config
    encoder, model, provenance = _encoder(checkpoint, seed)
    if name is None:
        name = short_name(checkpoint) if is_encoder_name(checkpoint) else checkpoint
    elif not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"--name {name!r}: a folder is named so: give letters, digits, dots, dashes and underscores")
    device = distributed.setup(config.engine)
    encoder.to(device)
    state = None
    if _trains_long(config, task):
        state = paths.state(fingerprint(checkpoint, identity(encoder), name, task, seed, config))
    own = None if is_encoder_name(checkpoint) else paths.network(checkpoint, seed)
    folder = paths.evaluation(name, task, seed)
    with (
        stage_run(
            resolved,
            "evaluate",
            folder.name,
            state and state / RUN_FILE,
            arguments={"checkpoint": checkpoint, "task": task, "seed": seed},
            reads=[paths.clips(config), paths.statistics(config), *([own.parent] if own else [])],
            writes=[folder],
        ) as run,
        _whole(folder) as out,
    ):
        job = Job(config, checkpoint, seed, encoder, device, run, out, provenance, [state] if state else [])
        records = []
        for figure in measure(job, task):
            low, high = figure.ci95
            setting = figure.setting + (", validation" if config.evaluate.split == "val" else "")
            plain = re.sub(r"\W+", "-", setting).strip("-")
            key = f"{task}/{plain}/{figure.metric}"
            run.log({key: figure.value, f"{key}-low": low, f"{key}-high": high}, step=0, of=own)
            record = Record(
                model=model,
                pretext=name,
                task=task,
                setting=setting,
                metric=figure.metric,
                value=round(figure.value, 2),
                ci95=(round(low, 2), round(high, 2)),
                n=figure.n,
                seed=seed,
                dataset=figure.dataset or config.dataset,
                run_id=run.run_id,
            )
            records.append(record)
            tqdm.write(f"{name} {task} {setting}: {figure.metric} {figure.value:.2f} [{low:.2f}, {high:.2f}]")
        write_records(out / paths.results(name, task, seed).name, records)
        for path in sorted(out.iterdir()):
            run.artifact(path)
        write_run_file(out / RUN_FILE, run)
    for folder in job.finished:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of ``folder`` at the end; on an error nothing changes."""
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)  # of a process that was killed
    hidden.mkdir(parents=True)
    try:
        yield hidden
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _trains_long(config: Config, task: str) -> bool:
    """Whether the task trains more than a linear head: what is trained then goes on after an interruption."""
    return not task.endswith("-bin") or config.evaluate.binary.train == "all"


def _encoder(name: str, seed: int) -> tuple[Encoder, str, dict[str, Any]]:
    """The encoder, what kind of network it is, and what its checkpoint says of it."""
    if is_encoder_name(name):
        encoder = load_encoder(name)
        return encoder, type(encoder).__name__, {}
    network, provenance = load_network(paths.network(name, seed))
    return network, f"r2plus1d-{network.spec.video_depth} ×{network.spec.video_width:g}", provenance


def measurement(task: str) -> Callable[[Job, str], Iterator[Figure]]:
    """The code of a kind of task; imported for its own tasks only.

    Raises:
        UserError: no such task.
    """
    try:
        TypeAdapter(Task).validate_python(task)
    except ValidationError:
        raise UserError(
            f"no task {task!r}: choose avc-bin, avsa-bin, segmentation, ucf101-N or hmdb51-N (folds N = 1, 2, 3)"
        ) from None
    if task == "segmentation":
        from avsa.stages.evaluate_segmentation import evaluate_segmentation

        return evaluate_segmentation
    if task.endswith("-bin"):
        from avsa.stages.evaluate_binary import evaluate_binary

        return evaluate_binary
    from avsa.stages.evaluate_action import evaluate_action

    return evaluate_action
