"""A trial in a process of its own, and what it and the search say to each other.

Processes are forked off a server that has imported everything and touched no GPU: a trial starts within milliseconds,
ends with all its memory, and takes nobody with it when it is killed. It runs in the trial's folder, writes its output
to ``log.txt`` there, and ends at once when the process of the search does: no trial is ever trained by two.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from avsa.errors import UserError
from avsa.resolve import Resolved
from avsa.sweep.places import Place

LOG, LOCK = "log.txt", ".lock"


@dataclass(frozen=True)
class Job:
    """What a trial's process is asked to do."""

    name: str  # for people: "curriculum 12"
    folder: Path  # absolute; the same one where a lost trial goes on
    project: Path  # absolute
    resolved: Resolved
    seed: int
    final: bool = False  # also measured on the test split
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str = ""  # the MLflow run that the trial was recorded by before it was lost


Interval = tuple[float, float | None, float | None]
"""A value and its 95 % interval, None where it has none."""


@dataclass(frozen=True)
class Outcome:
    """What a trial that was not stopped came to."""

    values: list[float]  # of the plan's metrics
    figures: dict[str, Interval] = field(default_factory=dict)  # by name
    seconds: float = 0.0  # of training and measuring


class Pruned(SystemExit):
    """The search has no use for the rest of this trial."""


class Report:
    """A trial's line to the search: a pipe each way. With one for both, what a trial said last would be lost where it
    ends before it has heard everything."""

    def __init__(self, voice: Connection, ear: Connection) -> None:
        self._voice, self._ear = voice, ear

    def run(self, run_id: str) -> None:
        """Say which MLflow run records the trial."""
        self._voice.send(("run", run_id))

    def __call__(self, spent: int, value: float) -> None:
        """Report the metric after so much of the budget; training goes on while the search thinks about it."""
        self._voice.send(("report", (spent, value)))

    def check(self) -> None:
        """Between steps.

        Raises:
            Pruned: the trial is to end here.
        """
        while self._ear.poll():
            self.hear()

    def hear(self) -> None:
        """Wait for the answer to a report.

        Raises:
            Pruned: the trial is to end here.
        """
        if self._ear.recv():
            raise Pruned

    def end(self, how: str, content: Any) -> None:
        """The last word."""
        self._voice.send((how, content))


Objective = Callable[[Job, Report], Outcome]
"""Trains and measures; raises `Pruned` as the report does, SystemExit when it was asked to stop and has saved."""


@dataclass
class Running:
    """A trial's process as the search sees it."""

    process: BaseProcess
    ear: Connection
    voice: Connection
    place: Place
    began: float

    def answer(self, prune: bool) -> None:
        """Say whether it is to end."""
        with suppress(BrokenPipeError):  # it has ended
            self.voice.send(prune)

    def close(self) -> None:
        """When it has ended."""
        self.process.join(5)
        self.ear.close()
        self.voice.close()


def server(preload: list[str]) -> multiprocessing.context.ForkServerContext:
    """The context that processes are forked in; its server starts to import at once."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    forkserver.ensure_running()
    return context


def start(
    context: multiprocessing.context.ForkServerContext, objective: Objective, job: Job, place: Place, now: float
) -> Running:
    """Start a trial at a place."""
    our_ear, voice = context.Pipe(duplex=False)
    ear, our_voice = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(Report(voice, ear), objective, job, place), name=job.name)
    process.start()
    voice.close()
    ear.close()
    return Running(process, our_ear, our_voice, place, now)


def _main(report: Report, objective: Objective, job: Job, place: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everybody: the search says what it means
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    os.environ.pop("MLFLOW_RUN_ID", None)  # that is the run of whoever started the search
    place.take()
    job.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(job.folder)
    _write_to(job.folder / LOG)
    with (job.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held by a process of this trial that has not quite ended
        report.end(*_ended(objective, job, report))
    sys.stderr.flush()


def _ended(objective: Objective, job: Job, report: Report) -> tuple[str, Any]:
    try:
        return "done", objective(job, report)
    except Pruned:
        return "pruned", None
    except SystemExit:
        return "interrupted", None
    except UserError as error:
        print(f"avsa: {error}", file=sys.stderr)
        return "failed", str(error)
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:300]
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        return "failed", f"out of memory: {text}" if memory else f"{type(error).__name__}: {text}"


def _stop(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_with_the_search() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _write_to(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
