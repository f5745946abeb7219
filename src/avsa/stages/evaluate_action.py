"""Action recognition on one fold of UCF-101 or HMDB-51: fine-tune the whole network, then score the test videos."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from avsa.config import Config
from avsa.data.action import ActionBatch, DenseClips, RandomClips, network_input
from avsa.data.action_splits import ActionSet, ActionSplit, ActionVideo, data_set_name, held_out, parse_task, read_split
from avsa.data.films import Films
from avsa.data.loader import Loader
from avsa.engine.loop import train
from avsa.engine.optim import stepwise
from avsa.engine.precision import autocast
from avsa.engine.protocols import Phase
from avsa.engine.signals import Interrupted
from avsa.errors import UserError
from avsa.models.encoder import identity, require
from avsa.report.segments import confusion_picture
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.job import Figure, Job
from avsa.tasks.action import ActionTask, confusion, score

SETTING = "fine-tuned"


def evaluate_action(job: Job, task: str) -> Iterator[Figure]:
    """Top-1 and top-5 of single clips and of videos, after fine-tuning; ``untrained`` is training from scratch.

    Leaves ``predictions.csv`` and ``confusion.png`` in ``job.out``.

    Raises:
        UserError: an encoder without video, no such fold, a data set that is not there or not whole, a video that
            cannot be decoded, a loss that is not finite.
    """
    require(job.encoder, task, "video", "video_dim")
    name, fold = parse_task(task)
    split = read_split(Path(job.config.evaluate.action.root), name, fold)
    if job.config.evaluate.split == "val":
        split = held_out(split)
    dataset = data_set_name(Path(job.config.evaluate.action.root), name)
    trained = _fine_tune(job, task, name, split)
    logits_VSC = _predict(job, trained, split)
    label_V = torch.tensor([video.label for video in split.test])
    sources = {source: number for number, source in enumerate(dict.fromkeys(video.source for video in split.test))}
    scores = score(logits_VSC, label_V, torch.tensor([sources[video.source] for video in split.test]))
    _write_predictions(job.out / "predictions.csv", split.test, split.classes, scores.probability_VC)
    matrix = confusion(scores.probability_VC.argmax(1), label_V, len(split.classes))
    confusion_picture({SETTING: matrix.numpy()}, split.classes, job.out / "confusion.png", counted="videos")
    for metric, accuracy in scores.accuracies.items():
        yield Figure(SETTING, metric, accuracy.value, (accuracy.low, accuracy.high), accuracy.n, dataset)


def _fine_tune(job: Job, task: str, name: ActionSet, split: ActionSplit) -> ActionTask:
    """Killed and started again, the training goes on."""
    config, action, seed = job.config, job.config.evaluate.action, job.seed
    if action.batch % config.engine.accumulate:
        raise UserError(f"evaluate.action.batch {action.batch} is no multiple of engine.accumulate")
    examples = RandomClips(_films(config, split.train), split.train, action, config.views, config.clips.fps, seed)
    loader: Loader[ActionBatch] = Loader(
        examples,
        list(range(len(split.train))),
        f"{action.root}/{name}",
        batch=action.batch // config.engine.accumulate,
        seed=seed,
        repeats=getattr(action.clips_per_video, name),
        workers=config.engine.workers,
        pin_memory=job.device.type == "cuda",
    )
    torch.manual_seed(seed)  # dropout
    start = identity(job.encoder)
    example = next(loader.epoch(0)).to(job.device)
    with autocast(job.device, config.engine.precision):
        trained = ActionTask(job.encoder, len(split.classes), network_input, example, seed)
    falls = [epoch * (len(loader) // config.engine.accumulate) for epoch in action.milestones]
    phase = Phase(task, trained, loader, action.epochs, stepwise(action.lr, falls, action.decay))
    state_name = fingerprint(
        *(start, task, action, config.views, config.clips.fps, seed),
        [config.engine.precision, config.engine.accumulate],
        [(video.name, video.label, video.path.stat().st_size) for video in split.train],
    )
    state = paths.state(state_name)
    try:
        train(
            [phase], config.engine, job.device, weight_decay=0.0, state_dir=state, fingerprint=state_name,
            tracker=job.run,
        )  # fmt: skip
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    loader.close()
    job.finished.append(state)
    return trained


def _predict(job: Job, trained: ActionTask, split: ActionSplit) -> Tensor:
    """logits_VSC of the test videos."""
    config, action = job.config, job.config.evaluate.action
    examples = DenseClips(
        Films([video.path for video in split.test]), split.test, action, config.views, config.clips.fps
    )
    together = max(1, config.evaluate.batch // action.test_clips)  # videos in one pass
    loader: Loader[ActionBatch] = Loader(
        examples,
        list(range(len(split.test))),
        action.root,
        batch=together,
        shuffle=False,
        drop_last=False,
        workers=config.engine.workers,
        pin_memory=job.device.type == "cuda",
    )
    batches = (batch.to(job.device) for batch in loader.epoch(0))
    shown = tqdm(batches, total=len(loader), desc="test videos", unit="batch", disable=None)
    with autocast(job.device, config.engine.precision):
        return trained.predict(shown, action.test_clips)


def _films(config: Config, videos: Sequence[ActionVideo]) -> Films:
    films = Films([video.path for video in videos])
    films.keep(config.evaluate.action.cache_gb)
    return films


def _write_predictions(
    path: Path, videos: Sequence[ActionVideo], classes: Sequence[str], probability_VC: Tensor
) -> None:
    """A row for each test video: its class, the likeliest one and the probabilities of both."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "class", "predicted", "probability_of_class", "probability_of_predicted"])
        for video, probability_C in zip(videos, probability_VC, strict=True):
            best = int(probability_C.argmax())
            figures = (f"{probability_C[n]:.4f}" for n in (video.label, best))
            writer.writerow([video.name, classes[video.label], classes[best], *figures])
