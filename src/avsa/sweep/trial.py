"""What a trial does: it trains and measures as the stages do, and reports what validation says on the way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsa.config import Config
from avsa.errors import UserError
from avsa.sweep.plan import WITHIN_CLIP, Plan
from avsa.sweep.process import Interval, Job, Outcome, Pruned, Report
from avsa.sweep.timetable import spent

if TYPE_CHECKING:
    from avsa.tracking.run import Run

VALIDATION = ("val/within_clip_v2a", "val/within_clip_a2v")
TEST = "test: "
"""Before the names of figures of the test split, which no choice depends on."""
MADE = ("checkpoints", "evaluations", "data")  # by a trial in its folder, beside its journal in runs


@dataclass(frozen=True)
class TrainAndMeasure:
    """The objective of a plan."""

    plan: Plan

    def __call__(self, job: Job, report: Report) -> Outcome:
        """Train the runs in the current folder, measure the last one; one MLflow run records both.

        Raises:
            UserError: a missing input, a loss that is not finite, a metric that the trained network does not have.
            Pruned: the search has no use for the rest.
            SystemExit: asked to stop; what is done is saved.
        """
        from avsa.tracking.run import RUN_FILE, stage_run

        _clear(job)
        run: Run | None = None
        try:
            with stage_run(job.resolved, "trial", job.name, remembered=job.folder / RUN_FILE) as run:
                run.tags({**job.tags, "sweep.state": "running"})
                report.run(run.run_id)
                began = time.perf_counter()
                try:
                    found = self._found(job, report, run)
                except Pruned:
                    run.tags({"sweep.state": "pruned"})
                    raise
                run.log({f"objective/{_plain(name)}": value for name, (value, _, _) in found.items()}, step=0)
                run.tags({"sweep.state": "complete"})
        except (Pruned, Exception):  # what was interrupted goes on with what lies there
            _tidy(job.folder, run)
            raise
        _tidy(job.folder, run)
        return Outcome([found[name][0] for name in self.plan.metrics], found, time.perf_counter() - began)

    def _found(self, job: Job, report: Report, run: Run) -> dict[str, Interval]:
        from avsa.stages.trial import lay_out, measure, train_runs

        plan, config = self.plan, job.resolved.config
        device = lay_out(config, job.project, job.seed)
        train_runs(config, plan.runs, job.seed, device, lambda name: _Reporting(run, config, plan, name, report))
        tasks = list(dict.fromkeys(name.partition("/")[0] for name in plan.metrics if name != WITHIN_CLIP))
        found: dict[str, Interval] = {}
        for name, figure in measure(config, plan.runs[-1], job.seed, device, tasks, "val"):
            found[name] = (figure.value, *figure.ci95)
        if WITHIN_CLIP in plan.metrics:
            found[WITHIN_CLIP] = (within_clip({name: _last(run.history(name)) for name in VALIDATION}), None, None)
        for name in plan.metrics:
            if name not in found:
                raise UserError(f"no figure {name!r}: this network has {', '.join(found) or 'none'}")
        if job.final:
            for name, figure in measure(config, plan.runs[-1], job.seed, device, tasks, "test"):
                found[TEST + name] = (figure.value, *figure.ci95)
        return found


class _Reporting:
    """The tracker of one of a trial's runs: steps go on from the run before, validation is reported."""

    def __init__(self, run: Run, config: Config, plan: Plan, name: str, report: Report) -> None:
        runs = config.pretrain.runs
        before = [phase for other in plan.runs[: plan.runs.index(name)] for phase in runs[other]]
        self._first = sum(phase.epochs * (phase.steps or 0) for phase in before)
        self._phases = before + runs[name]
        self._run, self._budget, self._report = run, plan.budget, report

    @property
    def run_id(self) -> str:
        """The trial's run."""
        return self._run.run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics, and report the validation's where they are among them; hear whether to go on."""
        self._run.log(metrics, self._first + step)
        self._report.check()
        if set(metrics) >= set(VALIDATION):
            self._report(spent(self._phases, self._first + step, self._budget), within_clip(metrics))

    def flush(self) -> None:
        """Return when all is stored."""
        self._run.flush()

    def last_step(self) -> int:
        """The last step of this run that is stored."""
        return max(self._run.last_step() - self._first, -1)


def within_clip(metrics: Mapping[str, float]) -> float:
    """Percent, the mean of both directions."""
    return 100 * sum(metrics[name] for name in VALIDATION) / len(VALIDATION)


def _last(history: Mapping[int, float]) -> float:
    return history[max(history)]


def _plain(name: str) -> str:
    """The name as a tracking store accepts it."""
    return "".join(letter if letter.isalnum() or letter in "/_-. " else " " for letter in name)


def _clear(job: Job) -> None:
    """What a trial of an earlier study of this name left in the folder is not continued."""
    from avsa.tracking.run import RUN_FILE, read_run_file

    left = read_run_file(job.folder / RUN_FILE)
    if left and left["run_id"] != job.run_id:
        _remove(job.folder, MADE)
        (job.folder / RUN_FILE).unlink()


def _tidy(folder: Path, run: Run | None) -> None:
    """A trial that is over is its record: networks and data are not kept, its configuration makes them again."""
    _remove(folder, MADE if run and run.journal.waiting else (*MADE, "runs"))


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
