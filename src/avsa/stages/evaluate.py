"""The stage ``evaluate``: one network, one task, all its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from avsa.config import Task
from avsa.engine import distributed
from avsa.errors import UserError
from avsa.models.checkpoint import load_network
from avsa.models.encoder import Encoder, is_encoder_name, load_encoder, short_name
from avsa.report.records import Record, write_records
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.stages.job import Figure, Job
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file


def run_evaluate(resolved: Resolved, checkpoint: str, task: str, seed: int) -> None:
    """Write ``results.json`` (records as the README describes them) and what the task draws.

    Args:
        checkpoint: a pre-training run, or an encoder as :mod:`avsa.models.encoder` names them.

    Raises:
        UserError: an unknown task, a missing checkpoint, an empty split.
    """
    measure, config = _measure(task), resolved.config
    encoder, checkpoint, model = _encoder(checkpoint, seed)
    device = distributed.setup(config.engine)
    encoder.to(device)
    out = paths.evaluation(checkpoint, task, seed)
    out.mkdir(parents=True, exist_ok=True)
    with stage_run(resolved, "evaluate", f"{checkpoint}-{task}-{seed}") as run:
        records = []
        for figure in measure(Job(config, checkpoint, seed, encoder, device, run, out), task):
            low, high = figure.ci95
            key = f"{task}/{figure.setting}/{figure.metric}".replace(", ", "-").replace(" ", "-").replace("+", "-")
            run.log({key: figure.value, f"{key}-low": low, f"{key}-high": high}, step=0)
            record = Record(
                model=model,
                pretext=checkpoint,
                task=task,
                setting=figure.setting,
                metric=figure.metric,
                value=round(figure.value, 2),
                ci95=(round(low, 2), round(high, 2)),
                n=figure.n,
                seed=seed,
                dataset=figure.dataset or config.dataset,
                run_id=run.run_id,
            )
            records.append(record)
            tqdm.write(
                f"{checkpoint} {task} {figure.setting}: {figure.metric} {figure.value:.2f} [{low:.2f}, {high:.2f}]"
            )
        write_records(paths.results(checkpoint, task, seed), records)
        write_run_file(out / RUN_FILE, run)


def _encoder(name: str, seed: int) -> tuple[Encoder, str, str]:
    """The encoder, what results call it, and what kind of network it is."""
    if is_encoder_name(name):
        encoder = load_encoder(name)
        return encoder, short_name(name), type(encoder).__name__
    network = load_network(paths.network(name, seed))[0]
    return network, name, f"r2plus1d-{network.spec.video_depth} ×{network.spec.video_width:g}"


def _measure(task: str) -> Callable[[Job, str], Iterator[Figure]]:
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
