"""Trials whose process was lost: who runs a trial, whether it still does, and that another one goes on with it.

Every process that serves a study says so at each of its running trials, every minute. That works the same on all
storages, without a database's own clock: those of the machines must agree to within the time of grace.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from avsa.sweep.studies import continuations, orphans
from avsa.tracking.process import started

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

BEAT_S, GRACE_S = 60.0, 180.0
CARRIED = ("kind", "seed", "threads", "run_id", "origin")  # from a trial to the one that continues it


def this_process() -> str:
    """Machine, process namespace, number and start of this process: no other one is called so."""
    return f"{_here()} {os.getpid()} {started(os.getpid()):.2f}"


def is_gone(process: str) -> bool:
    """Whether a process is known to have ended; of one on another machine nothing is known."""
    place, _, rest = process.partition(" ")
    number, _, began = rest.partition(" ")
    if place != _here():
        return False
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(int(number))
        return f"{started(found.pid):.2f}" != began or found.status() == psutil.STATUS_ZOMBIE
    return True


def lost(study: Study, mine: str, grace_s: float = GRACE_S) -> list[FrozenTrial]:
    """Running trials whose process has ended, or was not heard of for ``grace_s``; those of this process are not."""
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get("process", "")
        began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0  # of its machine's time zone
        silent_s = time.time() - trial.user_attrs.get("alive", began)
        if process != mine and (silent_s > grace_s or (process and is_gone(process))):
            found.append(trial)
    return found


def give_up(study: Study, number: int, reason: str, retries: int | None) -> bool | None:
    """Record a running trial as failed; it goes on under another number, unless it was lost too often.

    Of several processes that give up a trial at once one does; the others change nothing. Where that one is killed
    before the trial is queued again, :func:`go_on` makes up for it.

    Args:
        retries: how often it may be lost; None for one that was stopped on purpose, which always goes on.

    Returns:
        Whether it goes on; None where another process gave it up.
    """
    trials = study.get_trials(deepcopy=False)
    trial = next(trial for trial in trials if trial.number == number)
    same = trial.user_attrs.get("same", queued_before(trials, trial))
    if same is not None:
        return False if leave(study, trial, same) else None
    goes_on = retries is None or trial.user_attrs.get("losses", 0) < retries
    if not _fail(study, trial, {"reason": reason, "lost": retries is not None, "continued": goes_on}):
        return None
    if goes_on:
        _continue(study, next(trial for trial in study.get_trials() if trial.number == number))
    return goes_on


def go_on(study: Study) -> None:
    """Queue what is to be continued and is not."""
    for trial in orphans(study):
        _continue(study, trial)


def queued_before(trials: Iterable[FrozenTrial], trial: FrozenTrial) -> int | None:
    """The number of the trial that continues the same one, where that is another and was queued first.

    Two processes may notice at once that a lost trial is not queued. Numbers are given one after another, so that of
    two that continue the same one every process runs the first and leaves the other.
    """
    first = continuations(trials).get(trial.user_attrs.get("continues", -1), trial.number)
    return None if first == trial.number else first


def leave(study: Study, trial: FrozenTrial | Trial, same: int) -> bool:
    """Record a trial as failed that was queued beside another by mistake and was not begun; False if it had ended."""
    return _fail(study, trial, {"same": same, "reason": f"queued twice: it is trial {same}"})


def _fail(study: Study, trial: FrozenTrial | Trial, facts: dict[str, Any]) -> bool:
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    storage = study._storage  # a study offers no way to write to a trial that another process asked for
    try:
        for key, value in facts.items():
            storage.set_trial_user_attr(trial._trial_id, key, value)
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return False
    return True


def _continue(study: Study, trial: FrozenTrial) -> None:
    import optuna

    known = trial.user_attrs
    facts = {"origin": trial.number, **{key: known[key] for key in CARRIED if key in known}}
    again = optuna.create_trial(
        state=optuna.trial.TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**facts, "continues": trial.number, "losses": known.get("losses", 0) + known["lost"]},
        system_attrs={
            **trial.system_attrs,
            "fixed_params": {**trial.system_attrs.get("fixed_params", {}), **trial.params},
        },
        intermediate_values=trial.intermediate_values,
    )
    study.add_trial(again)


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = boot.read_text().strip()[:8] if boot.exists() else ""
    return f"{socket.gethostname()}/{name}/{os.stat('/proc/self/ns/pid').st_ino}"
