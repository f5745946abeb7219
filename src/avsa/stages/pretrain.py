"""The stages ``init`` and ``pretrain``."""

from __future__ import annotations

import csv
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.config import Phase as PhaseConfig
from avsa.data.loader import ClipLoader
from avsa.data.views import without_augmentation
from avsa.engine import distributed, random_state
from avsa.engine.loop import train
from avsa.engine.optim import constant
from avsa.engine.precision import autocast
from avsa.engine.protocols import Phase, Tracker
from avsa.engine.signals import Interrupted
from avsa.errors import UserError
from avsa.losses import ContrastiveObjective
from avsa.models.checkpoint import load_into, save_network
from avsa.models.network import AVSANetwork, build_network
from avsa.resolve import Resolved, fingerprint
from avsa.stages import paths
from avsa.stages.inputs import build_views, digest
from avsa.tasks.pretrain import PretrainTask, network_spec
from avsa.tracking.run import RUN_FILE, Run, Silent, stage_run, write_run_file


def run_init(resolved: Resolved, seed: int) -> None:
    """Write the untrained network of a seed."""
    config = resolved.config
    out = paths.checkpoint("untrained", seed)
    with stage_run(resolved, "init", f"untrained-{seed}") as run:
        network = build_network(network_spec(config.model, config.audio), seed)
        save_network(paths.network("untrained", seed), network, {"run": "untrained", "seed": seed})
        write_run_file(out / RUN_FILE, run)


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


def _pretrain(resolved: Resolved, name: str, start: str, seed: int, device: torch.device) -> None:
    config = resolved.config
    store = paths.clips(config)
    identity = fingerprint(
        *(config.views, config.audio, config.model, config.pretrain.model_dump(mode="json", exclude={"runs"})),
        [phase.model_dump(mode="json") for phase in config.pretrain.runs[name]],
        [config.engine.precision, config.engine.accumulate, distributed.world_size(), name, start, seed],
        [digest(path) for path in (store / "manifest.jsonl", paths.statistics(config), paths.network(start, seed))],
    )
    state = paths.state(identity)
    network = build_network(network_spec(config.model, config.audio), seed)
    load_into(network, paths.network(start, seed))
    phases = [
        _phase(config, network, phase, f"{name} {number}/{len(config.pretrain.runs[name])}", seed, device)
        for number, phase in enumerate(config.pretrain.runs[name], start=1)
    ]
    random_state.seed(seed, distributed.rank())  # dropout; every other draw has a generator of its own

    def fit(run: Tracker) -> None:
        train(
            phases,
            config.engine,
            device,
            weight_decay=config.pretrain.weight_decay,
            state_dir=state,
            fingerprint=identity,
            tracker=run,
        )

    if not distributed.is_main():
        fit(Silent())
        return
    with stage_run(resolved, "pretrain", f"{name}-{seed}", remembered=state / RUN_FILE) as run:
        try:
            fit(run)
        except Interrupted as interrupted:
            raise SystemExit(interrupted.exit_code) from None
        out = paths.checkpoint(name, seed)
        provenance = {"run": name, "from": start, "seed": seed, "fingerprint": identity}
        save_network(paths.network(name, seed), network, provenance)
        _write_curve(paths.curve(name, seed), run)
        write_run_file(out / RUN_FILE, run)
        shutil.rmtree(state)  # what is done is kept by its outputs: started again, after a change of code, it trains


def _phase(
    config: Config, network: AVSANetwork, phase: PhaseConfig, name: str, seed: int, device: torch.device
) -> Phase:
    if phase.batch % config.engine.accumulate:
        parts = config.engine.accumulate
        raise UserError(f"{name}: a batch of {phase.batch} clips cannot be split into engine.accumulate={parts} parts")
    objective = ContrastiveObjective(phase.objective, config.pretrain.candidates, config.pretrain.temperature)
    drawn = config.views.model_copy(update={"crops": phase.crops})
    loader = ClipLoader(
        ClipStore(paths.clips(config), "train"),
        drawn,
        seed=zlib.crc32(f"{name}/{seed}".encode()),  # a run that follows another sees new views, not the same again
        batch=phase.batch // config.engine.accumulate,
        moments=phase.moments,
        repeats=config.pretrain.examples_per_clip,
        workers=config.engine.workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        pin_memory=device.type == "cuda",
    )
    task = PretrainTask(network, build_views(config).to(device), objective)
    return Phase(name, task, loader, phase.epochs, constant(phase.lr), _validation(config, task, device))


def _validation(config: Config, task: PretrainTask, device: torch.device) -> Callable[[], dict[str, float]] | None:
    """Scores held-out clips, the same views every time: does a sound's viewpoint stand out among its clip's own K?"""
    splits = {clip.split for clip in ClipStore(paths.clips(config))}
    if "val" not in splits or not config.engine.val_batches:
        return None
    trained = task.objective
    alone = ContrastiveObjective(trained.name, trained.candidate_set, trained.temperature, gather=False)
    task = PretrainTask(task.model, task.views, alone)  # every rank scores the same clips: they are not gathered
    loader = ClipLoader(
        ClipStore(paths.clips(config), "val"),
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


def _write_curve(path: Path, run: Run) -> None:
    """Loss and accuracies over steps, as the tracking store holds them: interrupted or not, each step once."""
    names = [n for n in run.client.get_run(run.run_id).data.metrics if not n.startswith("system/")]
    columns = {name: run.history(name) for name in sorted(names)}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *columns])
        for step in sorted({step for column in columns.values() for step in column}):
            writer.writerow([step, *(column.get(step, "") for column in columns.values())])
