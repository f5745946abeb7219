"""A binary task by training the whole network, from the checkpoint for each setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from avsa.data.views import without_augmentation
from avsa.engine.loop import train
from avsa.engine.optim import stepwise
from avsa.engine.precision import autocast
from avsa.engine.protocols import Phase
from avsa.engine.signals import Interrupted
from avsa.errors import UserError
from avsa.models.encoder import identity
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.frozen_features import split_loader
from avsa.stages.inputs import build_views, digest, open_store
from avsa.stages.job import Job
from avsa.tasks.binary import BinaryTask, Score, Setting, extract, score, sides
from avsa.tasks.fine_tune import FineTuneTask
from avsa.tracking.run import Run


def fine_tune(job: Job, task: BinaryTask, setting: Setting) -> Score:
    """Train a copy of the network, with a head, on augmented training clips; measure it on the test clips.

    Killed and started again, the training goes on; its state is kept until the job's results are written.

    Raises:
        UserError: several learning rates, a batch that cannot be split, fewer training clips than a batch, a loss that
            is not finite.
    """
    config, binary, device = job.config, job.config.evaluate.binary, job.device
    trained = _train(job, task, setting)
    encoder, head = trained.model.encoder, trained.model.head
    plain = without_augmentation(config.views).model_copy(update={"crops": setting.crops})
    repeats, seed = binary.test_views_per_clip, job.seed + 1
    split, batch = config.evaluate.split, config.evaluate.batch
    loader = split_loader(job, split, plain, batch=batch, repeats=repeats, seed=seed, drop_last=False)
    with autocast(device, config.engine.precision):
        found = extract(encoder, loader.epoch(0), trained.views, device, seed)
    generator = torch.Generator().manual_seed(job.seed)
    return score(head, task, sides(encoder, found, setting, device), setting, generator, device)


def _train(job: Job, task: BinaryTask, setting: Setting) -> FineTuneTask:
    config, binary, seed = job.config, job.config.evaluate.binary, job.seed
    if len(binary.lr) > 1:
        raise UserError(f"evaluate.binary.train: all takes one learning rate, evaluate.binary.lr has {len(binary.lr)}")
    if binary.batch % config.engine.accumulate:
        raise UserError(f"evaluate.binary.batch {binary.batch} is no multiple of engine.accumulate")
    views, batch = config.views.model_copy(update={"crops": setting.crops}), binary.batch // config.engine.accumulate
    loader = split_loader(job, "train", views, batch=batch, repeats=binary.views_per_clip, seed=seed, drop_last=True)
    torch.manual_seed(seed)  # dropout, yaws, partners
    example = next(loader.epoch(0)).to(job.device)
    trained = FineTuneTask(job.encoder, task, setting, build_views(config).to(job.device), example, seed)
    falls = [epoch * (len(loader) // config.engine.accumulate) for epoch in binary.milestones]
    phase = Phase(f"{task}, {setting}", trained, loader, binary.epochs, stepwise(binary.lr[0], falls))
    data = [open_store(config).digest, digest(paths.statistics(config))]
    name = fingerprint(
        *(job.checkpoint, identity(job.encoder), task, str(setting), binary, views, config.audio, data, seed),
        [config.engine.precision, config.engine.accumulate],
    )
    state = paths.state(name)
    tracker = _Part(job.run, f"{task}/{setting.key}")
    try:
        train([phase], config.engine, job.device, weight_decay=0.0, state_dir=state, fingerprint=name, tracker=tracker)
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    job.finished.append(state)
    return trained


@dataclass(frozen=True)
class _Part:
    """A tracker of one of a run's trainings: its metrics under a name of their own, with steps of their own."""

    run: Run
    name: str

    @property
    def run_id(self) -> str:
        return self.run.run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.run.log({f"{self.name}/{name}": value for name, value in metrics.items()}, step)

    def flush(self) -> None:
        self.run.flush()

    def last_step(self) -> int:
        return self.run.last_step(f"{self.name}/train/")
