"""The pipeline from the untrained network to its figures in one process and one folder: what a search tries.

The current folder becomes a project of its own, whose data is another project's. Runs are trained and measured by the
code of the stages, so that the stages with the same configuration come to the same figures.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import torch

from avsa.config import Config
from avsa.data.statistics import Statistics, compute_statistics, feature_settings
from avsa.engine import distributed
from avsa.engine.protocols import Tracker
from avsa.engine.signals import Interrupted
from avsa.models.checkpoint import load_network, save_network
from avsa.models.network import build_network
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.evaluate import measurement
from avsa.stages.init import calibrate
from avsa.stages.inputs import open_store
from avsa.stages.job import Figure, Job
from avsa.stages.pretrain import prepare
from avsa.tasks.pretrain import network_spec
from avsa.tracking.run import Run, Silent

KEPT_STATISTICS = Path("runs/sweep/statistics")


def lay_out(config: Config, project: Path) -> torch.device:
    """Link the data of a project into the current folder; statistics of other features are made once and kept there.
    Returns the device to train on.

    Raises:
        UserError: no clips, no statistics of the project, a clip that cannot be decoded.
    """
    for place in (paths.clips(config).parent, paths.raw(config).parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(project / place)
    store = open_store(config, "train")
    wanted = feature_settings(config.views, config.audio, store[0].sample_rate)
    own, theirs = paths.statistics(config), project / paths.statistics(config)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.unlink(missing_ok=True)
    if Statistics.load(theirs).settings != wanted:
        key = fingerprint(wanted, config.views, config.audio, store.digest)
        theirs = project / KEPT_STATISTICS / f"{key}.npz"
        theirs.parent.mkdir(parents=True, exist_ok=True)
        with theirs.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # trials that need the same ones wait for the first
            if not theirs.exists():
                compute_statistics(open_store(config, "train"), config.views, config.audio, 0, theirs)
    own.symlink_to(theirs)
    return distributed.setup(config.engine)


def train_runs(
    config: Config, runs: Sequence[str], seed: int, device: torch.device, tracker: Callable[[str], Tracker]
) -> None:
    """Train runs of ``pretrain.runs``, the first from the untrained network and each from the one before.

    What is done is not done again, and what was interrupted goes on.

    Args:
        tracker: gets the name of a run and gives what it is recorded by.

    Raises:
        UserError: as `avsa.engine.loop.train`.
        SystemExit: interrupted, after the state was saved.
    """
    start = "untrained"
    if not paths.network(start, seed).exists():
        network = build_network(network_spec(config.model, config.audio), seed)
        calibrate(network, config, seed)
        save_network(paths.network(start, seed), network, {"run": start, "seed": seed, "translated": False})
    for name in runs:
        if not paths.network(name, seed).exists():
            training = prepare(config, name, start, seed, device)
            try:
                training.fit(tracker(name))
            except Interrupted as interrupted:
                raise SystemExit(interrupted.exit_code) from None
            save_network(paths.network(name, seed), training.network, training.provenance)
            shutil.rmtree(training.state)
        start = name


def measure(
    config: Config, run: str, seed: int, device: torch.device, tasks: Iterable[str], split: Literal["val", "test"]
) -> Iterator[tuple[str, Figure]]:
    """Name (``task/setting/metric``) and figure of a trained run on a split, for every task and setting.

    Raises:
        UserError: as the tasks.
    """
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"split": split})})
    out = Path("evaluations")
    out.mkdir(exist_ok=True)
    for task in tasks:
        encoder, provenance = load_network(paths.network(run, seed))  # anew: some tasks go on training it
        job = Job(config, run, seed, encoder.to(device), device, cast(Run, Silent()), out, provenance)
        for figure in measurement(task)(job, task):
            yield f"{task}/{figure.setting}/{figure.metric}", figure
