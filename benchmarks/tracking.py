"""What recording costs a training of the demo's size: with a run in SQLite and without one.

Both train the demo's network on the same decoded noise, in turns, in one process; a run logs every ten steps, samples
the system's metrics and is carried to the store by its thread meanwhile. Compared are processor seconds of all threads:
what recording does beside the training counts, and what else the machine does does not. Where the ratio is lost in what
two trainings differ by anyway, the processor seconds of recording itself tell: those of its threads and of the calls
that hand something to them. Seconds on the clock are printed, too; and how long a run takes to begin and to end, once
per stage, and 10,000 points to be recorded, to arrive and to be read.
"""

import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from avsa.data.batch import Batch
from avsa.data.views import Views
from avsa.engine import distributed
from avsa.engine.loop import train
from avsa.engine.optim import constant
from avsa.engine.protocols import Phase, Tracker
from avsa.losses import ContrastiveObjective
from avsa.models.network import build_network
from avsa.resolve import Resolved, resolve
from avsa.tasks.pretrain import PretrainTask, network_spec
from avsa.tracking.run import Run, Silent, stage_run
from benchmarks import record
from benchmarks.step import random_batch

STEPS, ROUNDS = 50, 12
CLIPS = 14  # of hard-only in configs/demo.yaml: the phase with the shortest steps
POINTS = 10_000


class Fixed:
    """The same batch again and again."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return STEPS

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The steps of an epoch."""
        return itertools.repeat(self.batch, STEPS - start_step)

    def close(self) -> None:
        """Nothing works ahead."""


def main() -> None:
    """Measure both in turns and write the figure."""
    resolved = resolve(base="configs/demo.yaml")
    distributed.setup(resolved.config.engine)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        began = time.monotonic()
        with stage_run(resolved, "pretrain", "benchmark") as run:
            opened = time.monotonic() - began
            tracked: list[tuple[float, float]] = []
            silent: list[tuple[float, float]] = []
            seconds(resolved, Silent(), Path("warm-up"))
            before = recording_s()
            for number in range(ROUNDS):
                turns: list[tuple[list[tuple[float, float]], Tracker]] = [(silent, Silent()), (tracked, run)]
                for times, tracker in turns[:: -1 if number % 2 else 1]:  # each comes first as often
                    state = Path(f"{len(silent)}-{len(tracked)}")
                    times.append(seconds(resolved, tracker, state, first=number * STEPS))
            itself = (recording_s() - before + Later.logging_s) / sum(worked for worked, _ in silent)
            points(run)
            began = time.monotonic()
        print(f"a run takes {opened:.1f} s to begin (with MLflow's import), {time.monotonic() - began:.1f} s to end")
        os.chdir(Path(__file__).parent)
    for number, clock in ((1, "clock"), (0, "processor")):
        value, baseline = (statistics.median(times[number] for times in kind) for kind in (tracked, silent))
        ratio = statistics.median(ours[number] / theirs[number] for ours, theirs in zip(tracked, silent, strict=True))
        print(f"{clock}: {value:.2f} s with a run, {baseline:.2f} s without, ratio {ratio:.4f}")
    record.write("tracking", value, f"processor s for {STEPS} steps", baseline, ratio, digits=4)
    unit = "% of the training's processor time for recording itself; baseline: what it may take"
    record.write("tracking-itself", 100 * itself, unit, 1.0, 100 * itself, benchmark="tracking")


class Later:
    """A run's steps from ``first`` on."""

    logging_s = 0.0  # processor seconds of handing over, of all runs

    def __init__(self, tracker: Tracker, first: int) -> None:
        self.tracker, self.first, self.run_id = tracker, first, tracker.run_id

    def log(self, metrics: dict[str, float], step: int) -> None:
        """As the run does."""
        began = time.thread_time()
        self.tracker.log(metrics, self.first + step)
        Later.logging_s += time.thread_time() - began

    def flush(self) -> None:
        """As the run does."""
        self.tracker.flush()

    def last_step(self) -> int:
        """Each training begins anew."""
        return -1


def seconds(resolved: Resolved, tracker: Tracker, state: Path, first: int = 0) -> tuple[float, float]:
    """Of :data:`STEPS` steps: of processors, and on the clock."""
    config = resolved.config
    network = build_network(network_spec(config.model, config.audio), 0)
    views = Views(config.views, config.audio, config.clips.sample_rate)
    objective = ContrastiveObjective("hard-only")
    samples = round(config.views.audio_s * config.clips.sample_rate)
    batch = random_batch(CLIPS, config.views, (config.clips.height, 2 * config.clips.height), samples)
    phase = Phase("benchmark", PretrainTask(network, views, objective), Fixed(batch), 1, constant(5e-4))
    began, worked = time.monotonic(), time.process_time()
    train(
        [phase],
        config.engine,
        torch.device("cpu"),
        weight_decay=1e-5,
        state_dir=state,
        fingerprint="benchmark",
        tracker=Later(tracker, first),
    )
    passed = time.monotonic() - began
    if isinstance(tracker, Run):
        assert tracker.sender.settle(600)  # what is still to be sent is work of this training's
    return time.process_time() - worked, passed


def recording_s() -> float:
    """Processor seconds so far of the threads that record."""
    own = {thread.native_id for thread in threading.enumerate() if thread.name in ("tracking", "system metrics")}
    assert len(own) == 2
    return float(sum(one.user_time + one.system_time for one in psutil.Process().threads() if one.id in own))


def points(run: Tracker) -> None:
    """Time for many points of one metric."""
    assert isinstance(run, Run)
    times = [time.monotonic()]
    for step in range(POINTS):
        run.log({"many/points": step / POINTS}, step)
    times.append(time.monotonic())
    assert run.sender.settle(600)
    times.append(time.monotonic())
    assert len(run.history("many/points")) == POINTS
    times.append(time.monotonic())
    recorded, arrived, read = (later - earlier for earlier, later in itertools.pairwise(times))
    print(f"{POINTS:,} points: recorded in {recorded:.2f} s, stored {arrived:.1f} s later, read in {read:.2f} s")


if __name__ == "__main__":
    main()
