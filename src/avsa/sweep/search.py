"""One process that serves a search: it asks for trials, gives them to its places, and tells how they ended."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from avsa.errors import UserError
from avsa.sweep.agenda import Agenda
from avsa.sweep.losses import BEAT_S, GRACE_S, give_up, go_on, leave, lost, queued_before, this_process
from avsa.sweep.places import Place
from avsa.sweep.process import LOG, Job, Objective, Outcome, Running, start
from avsa.sweep.studies import PAPER, attempts
from avsa.sweep.summary import progress

if TYPE_CHECKING:
    from optuna import Study, Trial

    from avsa.sweep.space import Space

Describe = Callable[["Study", "Trial", dict[str, Any]], Job]
"""The job of a trial with its parameters; UserError where the configuration does not accept them together."""
ENDING_S = 60.0  # for trials that were asked to stop to save their state
PAPER_FAILS = "the first trial, of the paper's configuration, fails"
AGAIN = "; mend it, and the same command tries it again"


@dataclass
class Search:
    """Serves the studies of an agenda until nothing is left to do, time is up, or a signal asks it to stop."""

    agenda: Agenda
    space: Space
    places: list[Place]
    context: ForkServerContext
    objective: Objective
    describe: Describe
    facts: Mapping[str, Any] = field(default_factory=dict)  # recorded with every trial
    say: Callable[[str], None] = print
    abandoned: Callable[[str, bool], None] = lambda run_id, goes_on: None  # what a trial whose process was lost leaves
    ready: Callable[[], bool] = lambda: True  # whether what every trial needs is there: else none begins
    beat_s: float = BEAT_S
    grace_s: float = GRACE_S
    running: dict[int, _Trial] = field(default_factory=dict)  # by place
    stopping: bool = False
    _beat_at: float = -1e9
    _waits: bool = False

    def run(self) -> int:
        """Returns the number of the signal that asked to stop, 0 for none.

        Raises:
            UserError: the paper's configuration fails, which nothing in the space can be blamed for.
        """
        self.me = this_process()
        try:
            with _Stop() as stop:
                while True:
                    if stop.number:
                        self._end_all(stop)
                        return stop.number
                    try:
                        self._beat()
                        self._fill()
                        self._listen(1.0)
                    except UserError:
                        self._end_all(stop)
                        raise
                    if not self.running and self.agenda.over():
                        return 0
        finally:
            for trial in self.running.values():
                trial.process.process.kill()

    def _fill(self) -> None:
        for place in self.places:
            while place.number not in self.running and (study := self.agenda.next()) is not None:
                if self._waits_for_store():
                    return
                self._start(study, place)

    def _waits_for_store(self) -> bool:
        before, self._waits = self._waits, not self.ready()
        if self._waits != before:
            self.say(f"the tracking store is {'away: no trial begins until it is back' if self._waits else 'back'}")
        return self._waits

    def _start(self, study: Study, place: Place) -> None:
        plan = self.agenda.plan
        trial = study.ask()
        trials = study.get_trials(deepcopy=False)
        if (first := queued_before(trials, trials[trial.number])) is not None:
            leave(study, trial, first)
            return
        kind = "random" if study is self.agenda.studies.random else "search"
        facts = {"alive": time.time(), "process": self.me, "kind": kind, "seed": plan.seed}
        facts |= {**trial.user_attrs, **self.facts}
        for key, value in facts.items():
            if trial.user_attrs.get(key) != value:
                trial.set_user_attr(key, value)
        params = self.space.suggest(trial)
        if self._known(study, trial, facts):
            return
        try:
            job = self.describe(study, trial, params)
        except UserError as error:
            self._fail(study, trial, str(error))
            return
        process = start(self.context, self.objective, job, place, time.monotonic())
        self.running[place.number] = _Trial(study, trial, process, job)

    def _known(self, study: Study, trial: Trial, facts: Mapping[str, Any]) -> bool:
        """Whether the same was tried before, or is being tried as the same finalist; it is not trained again."""
        finalist = study is self.agenda.studies.finalists
        for other in attempts(study):
            same = other.params == trial.params and other.user_attrs.get("seed") == facts["seed"]
            if other.number >= trial.number or not same or other.state.name in ("FAIL", "PRUNED"):
                continue
            if finalist and other.user_attrs.get("kind") == facts["kind"]:
                leave(study, trial, other.number)
                return True
            if other.state.name == "COMPLETE":
                for key in ("figures", "run_id", "spent"):
                    trial.set_user_attr(key, other.user_attrs.get(key))
                trial.set_user_attr("twin", other.number)
                study.tell(trial, other.values)
                return True
        return False

    def _listen(self, timeout_s: float) -> None:
        """Hear what running trials say, and notice those that ended without a word."""
        ears = {item: trial for trial in self.running.values() for item in trial.ears}
        if not ears:
            time.sleep(timeout_s)
            return
        for trial in {id(ears[item]): ears[item] for item in wait(list(ears), timeout_s)}.values():
            self._hear(trial)

    def _hear(self, trial: _Trial) -> None:
        over = not trial.process.process.is_alive()  # asked first: what it said before its end is heard below
        with suppress(EOFError):
            while trial.process.ear.poll():
                kind, content = trial.process.ear.recv()
                if kind == "run":
                    trial.trial.set_user_attr("run_id", content)
                elif kind == "report":
                    trial.process.answer(self._prune(trial, *content))
                else:
                    self._ended(trial, kind, content)
                    return
        if over:
            self._ended(trial, "lost", trial.process.process.exitcode)

    def _prune(self, trial: _Trial, spent: int, value: float) -> bool:
        """Whether the trial is to end here. The paper's and the finalists' are not: all of them is wanted."""
        trial.spent = spent
        if len(self.agenda.plan.metrics) > 1:
            return False
        trial.trial.report(value, spent)
        kept = trial.study is self.agenda.studies.finalists or trial.trial.user_attrs["kind"] == PAPER
        return not kept and trial.trial.should_prune()

    def _ended(self, trial: _Trial, how: str, content: Any) -> None:
        """Tell the study how a trial ended."""
        self._leave(trial)
        study, own = trial.study, trial.trial
        if how == "interrupted" or (how == "lost" and self.stopping):
            self._give_up(study, own.number, "stopped", None)
            return
        if how == "lost":
            self._give_up(study, own.number, f"its process ended by {_cause(content)}", self.agenda.plan.retries)
            return
        outcome = content if how == "done" else Outcome([])
        spent = self.agenda.plan.budget.total if how == "done" else trial.spent
        facts = {"seconds": time.monotonic() - trial.process.began, "spent": spent, "figures": outcome.figures}
        try:
            for key, value in {**facts, "work_s": outcome.seconds}.items():
                own.set_user_attr(key, value)
            if how == "failed" or not all(map(math.isfinite, outcome.values)):
                self._fail(study, own, content if how == "failed" else f"not finite: {outcome.values}", trial)
                return
            if how == "pruned":
                from optuna.trial import TrialState

                study.tell(own, state=TrialState.PRUNED)
            else:
                study.tell(own, outcome.values)
        except (RuntimeError, ValueError) as error:  # it was given up meanwhile: this process was not heard of
            self.say(f"{trial.job.name}: its end is not recorded: {error}")
            return
        self.say(progress(self.agenda, study, own.number))

    def _fail(self, study: Study, own: Trial, reason: str, trial: _Trial | None = None) -> None:
        from optuna.trial import TrialState

        where = f" ({trial.job.folder / LOG})" if trial else ""
        if self._is_papers(study, own.user_attrs):
            give_up(study, own.number, reason, None)
            raise UserError(f"{PAPER_FAILS}: {reason}{where}{AGAIN}")
        own.set_user_attr("reason", reason)
        study.tell(own, state=TrialState.FAIL)
        self.say(f"{study.study_name} {own.number}: failed: {reason}{where}")

    def _give_up(self, study: Study, number: int, reason: str, retries: int | None) -> None:
        facts = next(t.user_attrs for t in study.get_trials() if t.number == number)
        last = retries is not None and facts.get("losses", 0) >= retries and self._is_papers(study, facts)
        goes_on = give_up(study, number, reason, None if last else retries)
        if goes_on is None:
            return
        if run_id := facts.get("run_id"):
            self.abandoned(run_id, goes_on)
        if last:
            raise UserError(f"{PAPER_FAILS}: {reason}{AGAIN}")
        self.say(f"{study.study_name} {number}: {reason}; {'it goes on later' if goes_on else 'it is given up'}")

    def _is_papers(self, study: Study, facts: Mapping[str, Any]) -> bool:
        return facts.get("kind") == PAPER and study is self.agenda.studies.search

    def _beat(self) -> None:
        """Say that the running trials are alive, and look for those whose process is not."""
        if time.monotonic() - self._beat_at < self.beat_s:
            return
        self._beat_at = time.monotonic()
        for trial in list(self.running.values()):
            try:
                trial.trial.set_user_attr("alive", time.time())
            except RuntimeError:  # given up by another process, which did not hear of this one
                trial.process.process.kill()
                self._leave(trial)
        for study in self.agenda.studies:
            go_on(study)
            for found in lost(study, self.me, self.grace_s):
                self._give_up(study, found.number, "its process was lost", self.agenda.plan.retries)

    def _end_all(self, stop: _Stop) -> None:
        """Have all trials save and end; a second signal does not wait for them."""
        self.stopping = True
        if self.running:
            self.say(f"stopping: {len(self.running)} running trials save their state; started again, they go on")
        for trial in self.running.values():
            trial.process.process.terminate()
        end, count = time.monotonic() + ENDING_S, stop.count
        while self.running:
            if stop.count > count or time.monotonic() > end:
                for trial in self.running.values():
                    trial.process.process.kill()
            self._listen(0.2)

    def _leave(self, trial: _Trial) -> None:
        self.running.pop(trial.process.place.number, None)
        trial.process.close()


@dataclass
class _Trial:
    study: Study
    trial: Trial
    process: Running
    job: Job
    spent: int = 0

    @property
    def ears(self) -> list[Any]:
        return [self.process.ear, self.process.process.sentinel]


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "SIGKILL: somebody's, or the machine is out of memory"
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


class _Stop:
    """While entered, SIGINT and SIGTERM are counted."""

    def __init__(self) -> None:
        self.number, self.count = 0, 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number, self.count = self.number or number, self.count + 1
