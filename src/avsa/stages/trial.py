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

import avsa
from avsa.config import Config
from avsa.data.statistics import Statistics, compute_statistics, feature_settings
from avsa.engine import distributed
from avsa.engine.protocols import Tracker
from avsa.engine.signals import Interrupted
from avsa.models.checkpoint import load_network, save_network
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.evaluate import measurement
from avsa.stages.init import save_untrained
from avsa.stages.inputs import digest, open_store
from avsa.stages.job import Figure, Job
from avsa.stages.pretrain import prepare
from avsa.tracking.run import Run, Silent

COMMON = Path("runs/sweep/common")
"""Of a project: what many trials begin with, made by the first."""
CODE = [digest(file) for file in sorted(Path(avsa.__file__).parent.rglob("*.py"))]  # what other code made is made again


def lay_out(config: Config, project: Path, seed: int) -> torch.device:
    """Link the data of a project into the current folder, and the untrained network of a seed; this, and statistics of
    other features than the project's, are made once for all trials that need the same. Returns the device to train on.

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
        key = fingerprint(wanted, config.views, config.audio, store.digest, CODE)
        theirs = _made_once(
            project / COMMON / f"statistics-{key}.npz",
            lambda out: compute_statistics(store, config.views, config.audio, 0, out),
        )
    own.symlink_to(theirs)
    device = distributed.setup(config.engine)
    parts = config.views, config.audio, config.model, config.evaluate.batch, store.digest, digest(own), CODE
    key = fingerprint(*parts, seed, torch.get_num_threads())  # its threads decide the last bits
    untrained = paths.network("untrained", seed)
    untrained.parent.mkdir(parents=True, exist_ok=True)
    untrained.unlink(missing_ok=True)
    untrained.symlink_to(
        _made_once(project / COMMON / f"untrained-{key}.pt", lambda out: save_untrained(out, config, seed))
    )
    return device


def _made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The path, after ``make`` has written it where nobody had; who needs it meanwhile waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(path)
    return path


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
