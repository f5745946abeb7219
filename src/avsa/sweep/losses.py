"""Trials whose process was lost: who runs a trial, whether it still does, and that another one goes on with it.

Every process that serves a study says so at each of its running trials, every minute. That works the same on all
storages, without a database's own clock: those of the machines must agree to within the time of grace.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from avsa.tracking.process import started

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEAT_S, GRACE_S = 60.0, 180.0


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

    Of several processes that give up a trial at once one does; the others change nothing.

    Args:
        retries: how often it may be lost; None for one that was stopped on purpose, which always goes on.

    Returns:
        Whether it goes on; None where another process gave it up.
    """
    import optuna
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    trial = next(trial for trial in study.get_trials(deepcopy=True) if trial.number == number)
    losses = trial.user_attrs.get("losses", 0) + (retries is not None)
    goes_on = retries is None or losses <= retries
    storage = study._storage  # a study offers no way to write to a trial that another process asked for
    try:
        storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        storage.set_trial_user_attr(trial._trial_id, "continued", goes_on)
        study.tell(number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return None
    if goes_on:
        carried = {key: value for key, value in trial.user_attrs.items() if key not in ("process", "alive")}
        again = optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**carried, "origin": trial.user_attrs.get("origin", number), "losses": losses},
            system_attrs={
                **trial.system_attrs,
                "fixed_params": {**trial.system_attrs.get("fixed_params", {}), **trial.params},
            },
            intermediate_values=trial.intermediate_values,
        )
        study.add_trial(again)
    return goes_on


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = boot.read_text().strip()[:8] if boot.exists() else ""
    return f"{socket.gethostname()}/{name}/{os.stat('/proc/self/ns/pid').st_ino}"
