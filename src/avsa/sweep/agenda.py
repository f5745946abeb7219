"""What is to be tried next, and how long the rest takes.

The search and random search take turns so that both have seen about as much at any time; then come the finalists. Where
time is short, the search ends early enough for them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avsa.sweep.finalists import candidates, enqueue_finalists
from avsa.sweep.plan import Plan
from avsa.sweep.studies import Studies, attempts, orphans, waiting

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FINAL = 1.25  # a finalist takes so many times as long as other trials: a guess until one has ended


@dataclass
class Agenda:
    """Asked for the next study whenever a place is free.

    ``deadline`` is on the clock of ``now``; without one, nothing is hurried.
    """

    plan: Plan
    studies: Studies
    places: int
    deadline: float | None = None
    now: Callable[[], float] = time.monotonic

    def next(self) -> Study | None:
        """The study to ask for a trial; None where nothing can begin now."""
        search, random, finalists = self.studies
        if self._fits((self._full_s() or 0.0) + self._reserve_s()):
            for study in (search, random):
                if waiting(study):
                    return study
            taken, taken_at_random = self._taken()
            if len(attempts(search)) < self.plan.trials and taken <= taken_at_random:
                return search
            if taken_at_random < taken:
                return random
            if len(attempts(search)) < self.plan.trials:
                return search
        if _running(search) or _running(random):
            return None  # here or elsewhere: the finalists are not known yet
        enqueue_finalists(self.studies, self.plan)
        return finalists if waiting(finalists) and self._fits(self._final_s()) else None

    def over(self) -> bool:
        """Whether nothing is left to do that fits into the time."""
        if any(map(_running, self.studies)):  # elsewhere: what they find may be for this process to try again
            return not self._fits(self._full_s() or 0.0)
        return self.next() is None

    def complete(self) -> bool:
        """Whether nothing is left to do."""
        taken, taken_at_random = self._taken()
        tried = len(attempts(self.studies.search)) >= self.plan.trials and taken_at_random >= taken
        idle = not any(_running(study) or waiting(study) for study in self.studies)
        return tried and idle and not self._finalists_left()

    def left_s(self) -> float | None:
        """Estimated seconds until all is done, None while nothing is known."""
        full_s = self._full_s()
        if full_s is None:
            return None
        search, random, finalists = self.studies
        seconds = [found for found in map(_seconds, attempts(search)) if found]
        each_s = sum(seconds) / len(seconds) if seconds else full_s
        running_s = (_running(search) + _running(random)) * each_s / 2
        left_s = running_s + max(0, self.plan.trials - len(attempts(search))) * each_s * (1 + self.plan.random)
        taken, taken_at_random = self._taken()
        left_s += max(0, taken - taken_at_random) / self.plan.budget.total * full_s
        rounds = math.ceil((self._finalists_left() + _running(finalists)) / self.places)
        estimate = left_s / self.places + rounds * self._final_s()
        return estimate if self.deadline is None else min(estimate, max(0.0, self.deadline - self.now()))

    def _taken(self) -> tuple[int, int]:
        """What the search and random search have taken of their common budget; trials that run, wait or failed count
        with all that they might have seen. Where there is no random search, it has taken as much."""

        def taken(study: Study) -> int:
            return sum(
                trial.user_attrs.get("spent", 0)
                if trial.state.name in ("COMPLETE", "PRUNED")
                else self.plan.budget.total
                for trial in attempts(study)
            )

        search = taken(self.studies.search)
        return search, taken(self.studies.random) if self.plan.random else search

    def _fits(self, seconds: float) -> bool:
        """Whether what takes so long ends in time."""
        return self.deadline is None or self.now() + seconds <= self.deadline

    def _reserve_s(self) -> float:
        return math.ceil(self._finalists_left() / self.places) * self._final_s()

    def _final_s(self) -> float:
        """Seconds of a finalist, which is measured on the test split too."""
        known = [seconds for trial in attempts(self.studies.finalists) if (seconds := _seconds(trial))]
        return sum(known) / len(known) if known else FINAL * (self._full_s() or 0.0)

    def _finalists_left(self) -> int:
        """Trainings of finalists that have not begun: estimated as long as the search goes on."""
        if not self.plan.finalists.count:
            return 0
        known = candidates(self.studies, self.plan)
        most = self.plan.finalists.count + 1 + self.plan.random
        begun = sum(trial.state.name != "WAITING" for trial in attempts(self.studies.finalists))
        searching = len(attempts(self.studies.search)) < self.plan.trials
        return max(0, (most if searching else len(known)) * len(self.plan.finalists.seeds) - begun)

    def _full_s(self) -> float | None:
        """Seconds of a trial that sees the whole budget, by those that ended."""
        ended = [trial for study in self.studies for trial in attempts(study) if _seconds(trial)]
        spent = sum(trial.user_attrs.get("spent", 0) for trial in ended)
        return sum(map(_seconds, ended)) / spent * self.plan.budget.total if spent else None


def _seconds(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get("seconds", 0.0))


def _running(study: Study) -> int:
    """Trials that run, or were given up and are about to be queued again."""
    return sum(trial.state.name == "RUNNING" for trial in study.get_trials(deepcopy=False)) + len(orphans(study))
