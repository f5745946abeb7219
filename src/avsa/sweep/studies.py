"""The studies of a search in their storage: what they are of, what was tried, what was lost and goes on.

Trials carry, as user attributes: ``kind`` ("search", "paper", "random" or a finalist's name), ``seed``, ``threads``,
``process`` and ``alive`` (who runs it, and when that one was last heard of), ``spent`` (of the budget), ``seconds``,
``work_s`` (those of training and measuring), ``figures``, ``run_id``, ``reason`` (why it failed) and ``twin`` (the same
was tried before, as this number). One that is given up says whether it was ``lost`` and is to be ``continued``; the one
that continues it says its number, ``continues``, that of the first of them, whose folder it uses, ``origin``, and how
often it was lost before, ``losses``. ``same`` is the number of the trial that it was queued beside by mistake.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsa.errors import UserError
from avsa.resolve import Resolved, fingerprint
from avsa.sweep.plan import Plan
from avsa.sweep.space import Params
from avsa.sweep.storage import public

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

RANDOM, FINALISTS = ".random", ".finalists"
PAPER = "paper"
IDENTITY, PLAN, BASE, PARENT = "identity", "plan", "base", "run"
SECTIONS = ("views", "audio", "model", "pretrain", "clips", "evaluate")


@dataclass(frozen=True)
class Studies:
    """The search, random search, and the finalists on other seeds."""

    search: Study
    random: Study
    finalists: Study
    created: bool = False  # by this process

    def __iter__(self) -> Iterator[Study]:
        return iter((self.search, self.random, self.finalists))


def identity(plan: Plan, base: Resolved, data: str) -> dict[str, str]:
    """Hashes of what the trials of a study have in common: of the plan, the configuration below it, and the data."""
    common = plan.model_dump(mode="json", exclude={"study", "trials", "random", "finalists", "retries"})
    engine = base.config.engine
    return {
        "space": fingerprint(common),
        "configuration": fingerprint(
            *(getattr(base.config, name) for name in SECTIONS), [engine.precision, engine.accumulate]
        ),
        "data": data,
    }


def open_studies(
    plan: Plan, paper: Params, storage: BaseStorage, own: dict[str, str], about: dict[str, Any], url: str
) -> Studies:
    """Begin the studies of a plan, with the paper's configuration as the first trial, or go on with them.

    Args:
        own: :func:`identity`.
        about: what else the search's study remembers.

    Raises:
        UserError: the study of this name is of another space, configuration or data.
    """
    import optuna

    directions = [optuna.study.StudyDirection.MAXIMIZE] * len(plan.metrics)
    try:
        search = optuna.create_study(storage=storage, study_name=plan.study, directions=directions)
        created = True
    except optuna.exceptions.DuplicatedStudyError:
        search = optuna.load_study(storage=storage, study_name=plan.study)
        created = False
    if created:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            search.set_metric_names(list(plan.metrics))
        enqueue(search, paper, PAPER, plan.seed)
        for key, value in {PLAN: plan.model_dump(mode="json"), **about, IDENTITY: own}.items():
            search.set_user_attr(key, value)  # others wait for the last one
    known = until(lambda: search.user_attrs.get(IDENTITY))
    if known is None:
        raise UserError(f"{public(url)}: study {plan.study} was not made by a sweep: give --study another name")
    for what, value in own.items():
        if known.get(what) != value:
            raise UserError(
                f"{public(url)}: study {plan.study} was begun with another {what}: give --study another name, or go "
                "back to what it was begun with"
            )
    random, finalists = (
        optuna.create_study(storage=storage, study_name=plan.study + ending, directions=directions, load_if_exists=True)
        for ending in (RANDOM, FINALISTS)
    )
    return with_samplers(Studies(search, random, finalists, created), plan)


def load_studies(name: str, storage: BaseStorage, url: str) -> tuple[Studies, Plan]:
    """The studies of a search that was begun, to be looked at, and its plan.

    Raises:
        UserError: no such study in the storage, or not one of a sweep.
    """
    import optuna

    names = optuna.get_all_study_names(storage)
    if name not in names:
        raise UserError(f"{public(url)}: no study {name!r}: it holds {', '.join(sorted(names)) or 'none'}")
    try:
        search, random, finalists = (
            optuna.load_study(storage=storage, study_name=name + ending) for ending in ("", RANDOM, FINALISTS)
        )
        studies = Studies(search, random, finalists)
        return studies, Plan.model_validate(studies.search.user_attrs[PLAN])
    except (KeyError, ValueError):
        raise UserError(f"{public(url)}: study {name} was not made by a sweep of this version") from None


def with_samplers(studies: Studies, plan: Plan) -> Studies:
    """TPE for the search, random values for the rest; Hyperband prunes search and random search alike."""
    import optuna

    seed = plan.seed
    if not studies.created:  # processes on one storage must not draw the same, nor one that goes on as at its beginning
        tried = sum(len(study.get_trials(deepcopy=False)) for study in studies)
        seed = int(fingerprint(plan.seed, tried, os.getpid(), time.time())[:7], 16)
    studies.search.sampler = optuna.samplers.TPESampler(n_startup_trials=8, seed=seed)
    studies.random.sampler = optuna.samplers.RandomSampler(seed=seed + 1)
    studies.finalists.sampler = optuna.samplers.RandomSampler(seed=seed + 2)
    for study in studies:
        study.pruner = optuna.pruners.NopPruner()
    if plan.pruning:
        studies.search.pruner, studies.random.pruner = _hyperband(plan), _hyperband(plan)
    return studies


def _hyperband(plan: Plan) -> BasePruner:
    """Resources are what was spent; a rung lies half a validation early: validations fall a little short of it."""
    import optuna

    assert plan.pruning is not None
    part = plan.budget.total / plan.validations
    first = max(1, int(plan.pruning.first * plan.budget.total - part / 2))
    return optuna.pruners.HyperbandPruner(first, plan.budget.total, plan.pruning.factor)


def attempts(study: Study) -> list[FrozenTrial]:
    """All trials but those that go on under another number, or were queued twice."""
    trials = study.get_trials(deepcopy=False)
    followed = continuations(trials)
    return [trial for trial in trials if trial.number not in followed and "same" not in trial.user_attrs]


def continuations(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """Number of a trial -> number of the one that it goes on as: of several, the first."""
    found: dict[int, int] = {}
    for trial in trials:
        if "continues" in trial.user_attrs:
            found.setdefault(trial.user_attrs["continues"], trial.number)
    return found


def orphans(study: Study) -> list[FrozenTrial]:
    """Trials that are to be continued and are not: whoever gave them up was killed before it had queued them."""
    trials = study.get_trials(deepcopy=False)
    followed = continuations(trials)
    return [
        trial
        for trial in trials
        if trial.state.name == "FAIL" and trial.user_attrs.get("continued") and trial.number not in followed
    ]


def spent_by(study: Study) -> int:
    """What the trials of a study saw that have ended; one that was not trained again saw nothing."""
    return sum(trial.user_attrs.get("spent", 0) for trial in attempts(study) if "twin" not in trial.user_attrs)


def enqueue(study: Study, params: Params, kind: str, seed: int) -> None:
    """Have a trial with these parameters run."""
    study.enqueue_trial(dict(params), user_attrs={"kind": kind, "seed": seed})


def waiting(study: Study) -> bool:
    """Whether trials wait to be run."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def until(look: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """What ``look`` gives as soon as it gives something; another process may be about to write it."""
    end = time.monotonic() + timeout_s
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(0.2)
    return found
