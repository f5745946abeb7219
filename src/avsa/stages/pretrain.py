"""The stage ``pretrain``."""

from __future__ import annotations

import copy
import csv
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch

from avsa.config import Config
from avsa.config import Phase as PhaseConfig
from avsa.data.loader import ClipLoader
from avsa.data.views import without_augmentation
from avsa.engine import distributed, random_state
from avsa.engine.loop import train
from avsa.engine.optim import constant, cosine
from avsa.engine.precision import autocast
from avsa.engine.protocols import Loader, Phase, Tracker
from avsa.engine.signals import Interrupted
from avsa.engine.stretch import Stretch
from avsa.errors import UserError
from avsa.losses import OBJECTIVES, ContrastiveObjective
from avsa.models.checkpoint import load_into, save_network
from avsa.models.network import AVSANetwork, build_network
from avsa.resolve import Resolved, fingerprint
from avsa.stages import paths
from avsa.stages.inputs import build_views, digest, open_store
from avsa.tasks.pretrain import PretrainTask, network_spec
from avsa.tracking.phases import PhasePlan, phased
from avsa.tracking.run import RUN_FILE, Run, Silent, stage_run, write_run_file


def run_pretrain(resolved: Resolved, name: str, start: str, seed: int) -> None:
    """Train the phases of ``pretrain.runs[name]`` from the network of ``start``; restartable at any moment.

    Raises:
        UserError: no such run, a missing or damaged input, a non-finite loss.
    """
    config = resolved.config
    if name not in config.pretrain.runs:
        raise UserError(f"no run {name!r} under pretrain.runs: choose one of {', '.join(config.pretrain.runs)}")
    device = distributed.setup(config.engine)
    try:
        _pretrain(resolved, name, start, seed, device)
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    finally:
        distributed.cleanup()


@dataclass(frozen=True)
class Training:
    """A run that is ready to begin, or to go on where ``state`` says that it was."""

    network: AVSANetwork
    state: Path  # folder of its checkpoints
    provenance: dict[str, Any]
    fit: Callable[[Tracker], None]  # trains the network in place; raises as `avsa.engine.loop.train`
    plans: list[PhasePlan]  # what is known of its phases beforehand


def prepare(config: Config, name: str, start: str, seed: int, device: torch.device) -> Training:
    """The training of ``pretrain.runs[name]`` from the network of ``start``; draws depend on the seed alone.

    Raises:
        UserError: a missing or damaged input, a batch that cannot be split.
    """
    phases = config.pretrain.runs[name]
    identity = fingerprint(
        *(config.views, config.audio, config.model, config.pretrain.model_dump(mode="json", exclude={"runs"})),
        [phase.model_dump(mode="json") for phase in phases],
        [config.engine.precision, config.engine.accumulate, distributed.world_size(), name, start, seed],
        [open_store(config).digest, *map(digest, (paths.statistics(config), paths.network(start, seed)))],
        config.store.shuffle_shards,
    )
    network = build_network(network_spec(config.model, config.audio), seed)
    before = load_into(network, paths.network(start, seed))
    ready = [
        _phase(config, network, phase, f"{name} {number}/{len(phases)}", seed, device)
        for number, phase in enumerate(phases, start=1)
    ]
    random_state.seed(seed, distributed.rank())  # dropout; every other draw has a generator of its own

    def fit(tracker: Tracker) -> None:
        train(
            ready,
            config.engine,
            device,
            weight_decay=config.pretrain.weight_decay,
            state_dir=paths.state(identity),
            fingerprint=identity,
            tracker=tracker,
        )

    translated = before.get("translated", False) or any(
        OBJECTIVES[phase.objective].translated if phase.translator is None else phase.translator for phase in phases
    )
    provenance = {"run": name, "from": start, "seed": seed, "fingerprint": identity, "translated": translated}
    lasts = accumulate(phase.epochs * (len(phase.loader) // config.engine.accumulate) for phase in ready)
    plans = [
        PhasePlan(f"{number} {phase.objective}", last, phase.model_dump(mode="json"))
        for number, (phase, last) in enumerate(zip(phases, lasts, strict=True), start=1)
    ]
    return Training(network, paths.state(identity), provenance, fit, plans)


def _pretrain(resolved: Resolved, name: str, start: str, seed: int, device: torch.device) -> None:
    training = prepare(resolved.config, name, start, seed, device)
    if not distributed.is_main():
        training.fit(Silent())
        return
    out, network = paths.checkpoint(name, seed), paths.network(name, seed)
    phases = resolved.config.pretrain.runs[name]
    arguments = {"run": name, "from": start, "seed": seed}
    with stage_run(
        resolved,
        "pretrain",
        f"{name}-{seed}",
        remembered=training.state / RUN_FILE,
        arguments={**arguments, "curriculum": " > ".join(f"{phase.objective} {phase.epochs}" for phase in phases)},
        reads=[paths.clips(resolved.config), paths.statistics(resolved.config), paths.checkpoint(start, seed)],
        writes=[out],
    ) as run:
        try:
            with phased(run, training.plans) as tracker:
                training.fit(tracker)
        except Interrupted as interrupted:
            raise SystemExit(interrupted.exit_code) from None
        save_network(network, training.network, training.provenance)
        _write_curve(paths.curve(name, seed), run)
        write_run_file(out / RUN_FILE, run)
        run.checkpoint(f"{name}-{seed}", network, arguments)
        run.log(final(run.curves()), step=0, of=network)  # at step 0 MLflow compares by bars
        # What is done is kept by its outputs: started again, after a change of code, it trains.
        shutil.rmtree(training.state)


def _phase(
    config: Config, network: AVSANetwork, phase: PhaseConfig, name: str, seed: int, device: torch.device
) -> Phase:
    if phase.batch % config.engine.accumulate:
        parts = config.engine.accumulate
        raise UserError(f"{name}: a batch of {phase.batch} clips cannot be split into engine.accumulate={parts} parts")
    objective = ContrastiveObjective(
        phase.objective,
        config.pretrain.candidates,
        phase.temperature or config.pretrain.temperature,
        hard_weight=phase.hard_weight,
        translated=phase.translator,
    )
    drawn = config.views.model_copy(update={"crops": phase.crops})
    loader: Loader = ClipLoader(
        open_store(config, "train"),
        drawn,
        seed=zlib.crc32(f"{name}/{seed}".encode()),  # a run that follows another sees new views, not the same again
        batch=phase.batch // config.engine.accumulate,
        moments=phase.moments,
        repeats=config.pretrain.examples_per_clip,
        workers=config.engine.workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        pin_memory=device.type == "cuda",
        shuffle_shards=config.store.shuffle_shards,
    )
    if phase.steps:
        loader = Stretch(loader, phase.steps * config.engine.accumulate)
    steps = phase.epochs * (len(loader) // config.engine.accumulate)
    schedule = cosine(phase.lr, steps) if phase.schedule == "cosine" else constant(phase.lr)
    task = PretrainTask(network, build_views(config).to(device), objective)
    return Phase(name, task, loader, phase.epochs, schedule, _validation(config, task, device))


def _validation(config: Config, task: PretrainTask, device: torch.device) -> Callable[[], dict[str, float]] | None:
    """Scores held-out clips, the same views every time: does a sound's viewpoint stand out among its clip's own K?"""
    if "val" not in open_store(config).splits or not config.engine.val_batches:
        return None
    alone = copy.copy(task.objective)
    alone.gather = False  # every rank scores the same clips
    task = PretrainTask(task.model, task.views, alone)
    loader = ClipLoader(
        open_store(config, "val"),
        without_augmentation(config.views),
        batch=config.evaluate.batch,
        shuffle=False,
        drop_last=False,
    )

    def validate() -> dict[str, float]:
        totals: dict[str, float] = defaultdict(float)
        rows = 0
        for batch in islice(loader.epoch(0), config.engine.val_batches):
            if len(set(batch.ids)) < 2:  # the rest of a last batch: nothing to tell a clip from
                continue
            with autocast(device, config.engine.precision):
                loss, metrics = task.step(batch.to(device))
            rows += len(batch.ids)
            for name, value in {"loss": loss, **metrics}.items():
                totals[f"val/{name}"] += float(value) * len(batch.ids)
        return {name: total / rows for name, total in totals.items()}

    return validate


def final(curves: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Where losses and held-out figures ended, under names that stand first in lists of metrics."""
    chosen = [name for name in curves if name == "train/loss" or name.startswith("val/")]
    return {f"final/{name}": curves[name][max(curves[name])] for name in chosen}


def _write_curve(path: Path, run: Run) -> None:
    """Loss and accuracies over steps, as they were recorded: interrupted or not, each step once."""
    columns = run.curves()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *columns])
        for step in sorted({step for column in columns.values() for step in column}):
            writer.writerow([step, *(column.get(step, "") for column in columns.values())])
