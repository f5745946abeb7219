"""The phases of a training as nested runs: a metric goes to the run of the whole and to that of its phase."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from avsa.tracking.process import this_process
from avsa.tracking.recorder import Run
from avsa.tracking.run import PARENT, PROCESS, ended_by, last_steps
from avsa.tracking.store import refused


@dataclass(frozen=True)
class PhasePlan:
    """A phase before it runs; steps are numbered from 1 through all phases."""

    name: str
    last: int  # step
    params: Mapping[str, Any]


class Phases:
    """The engine's tracker for several phases."""

    def __init__(self, run: Run, plans: Sequence[PhasePlan]) -> None:
        self.run, self.run_id, self._plans = run, run.run_id, plans
        self._children = [_nested(run, plan) for plan in plans]
        self.open: Run | None = None

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record in the run, and in the one of the phase that the step belongs to."""
        self.run.log(metrics, step)
        number = next((n for n, plan in enumerate(self._plans) if step <= plan.last), len(self._plans) - 1)
        child = self._children[number]
        if self.open is None:
            child.status("RUNNING")
            self.open = child
        child.log(metrics, step)
        if step == self._plans[number].last:  # the engine logs every epoch's last step
            child.status("FINISHED")
            self.open = None

    def flush(self) -> None:
        """As the run does."""
        self.run.flush()

    def last_step(self) -> int:
        """As the run does."""
        return self.run.last_step()


@contextmanager
def phased(run: Run, plans: Sequence[PhasePlan]) -> Iterator[Run | Phases]:
    """The tracker for phases; of a single one the run itself. An open phase ends as the block does.

    Raises:
        UserError: the store went away just now.
    """
    if len(plans) < 2:
        yield run
        return
    tracker = Phases(run, plans)
    try:
        yield tracker
    except BaseException as error:
        if tracker.open:
            tracker.open.status(ended_by(error))
        raise


def _nested(run: Run, plan: PhasePlan) -> Run:
    """The run of a phase: scheduled, or of a continued run the one that there is."""
    from mlflow.exceptions import MlflowException

    process = json.dumps({"uri": run.uri, **this_process()})
    below = f"tags.`{PARENT}` = '{run.run_id}' AND tags.`avsa.phase` = '{plan.name}'"
    try:
        for found in run.client.search_runs([run.experiment_id], below):
            run.client.set_tag(found.info.run_id, PROCESS, process)  # who looks for dead runs asks for this one
            return replace(run, run_id=found.info.run_id, whole=False, stored=last_steps(found))
        tags = {PARENT: run.run_id, "avsa.phase": plan.name, PROCESS: process}
        made = run.client.create_run(run.experiment_id, tags=tags, run_name=plan.name)
        run.client.update_run(made.info.run_id, "SCHEDULED")
    except MlflowException as error:
        raise refused(run.uri, error) from None
    child = replace(run, run_id=made.info.run_id, stored={})
    child.params({f"phase.{key}": value for key, value in plan.params.items()})
    return child
