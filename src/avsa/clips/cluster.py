"""Running the conversions on a Dask cluster, whose machines see recordings and work folder at the same paths as this.

A worker that dies costs nothing but time: the scheduler gives what it held to others, and files appear whole or not at
all. Each worker adds a byte to the recording's ``.busy`` when it begins, so a recording whose workers die again and
again is told from one that was only waiting on the same worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from distributed import Client, KilledWorker, rpc

from avsa.clips.attempt import PATIENCE_S, attempt, give_up, patience_of, tidy
from avsa.clips.recordings import Recording
from avsa.clips.site import Site
from avsa.config import Clips
from avsa.errors import UserError

_ANSWER_S = 10.0  # within which a scheduler answers
_WORKERS_S = 60.0  # within which the first worker joins it
_DESERTED_S = 600.0  # without any worker, later on
_LOOK_S = 10.0  # between looks for workers while nothing comes
_VISIBLE_S = 60.0  # within which a file that another machine wrote shows here: network file systems cache folders
_AHEAD = 4000  # recordings the scheduler knows of: several times the cores of any cluster
_LIVES = 3  # workers that a recording may bring down
_ROUNDS = 5  # times that the scheduler may give a recording up without it having brought down as many

_one_at_a_time = threading.Lock()


def convert_on_cluster(
    todo: list[tuple[str, Recording]], config: Clips, work: Path, address: str, patience_s: float = PATIENCE_S
) -> Iterator[str]:
    """Convert recordings on the workers of the scheduler at `address`; yields as `workers.convert_all` does.

    Raises:
        OSError: `work` cannot be written.
        UserError: no scheduler answers, it has no workers or loses them all; a worker has other versions, several
            threads, or does not see the files; workers die whatever they do.
    """
    tidy(work, {key for key, _ in todo})
    with _connected(address) as client:
        site = Site.founded(work)
        _on_workers(client, address, site)
        try:
            yield from _Run(client, address, todo, (config, work, patience_s, site)).keys()
        finally:
            site.mark.unlink(missing_ok=True)


class _Run:
    def __init__(
        self, client: Client, address: str, todo: list[tuple[str, Recording]], common: tuple[Any, ...]
    ) -> None:
        self.client, self.address, self.todo, self.common = client, address, todo, common
        self._name = uuid4().hex
        self._futures: dict[int, Any] = {}
        self._finished: SimpleQueue[int] = SimpleQueue()
        self._rounds: Counter[int] = Counter()
        self._workers_at_s = time.monotonic()

    def keys(self) -> Iterator[str]:
        done = set[int]()  # what has to wait for its turn
        begun = wanted = 0
        while wanted < len(self.todo):
            while begun < len(self.todo) and len(self._futures) < _AHEAD:
                self._submit(begun)
                begun += 1
            number = self._next()
            future = self._futures.pop(number)
            try:
                self._check(future)
                done.add(number)
            except KilledWorker as error:
                self._rounds[number] += 1
                if self._rounds[number] == _ROUNDS:
                    raise UserError(f"workers of {self.address} die whatever they do: see their logs") from error
                self._submit(number)
            while wanted in done:
                key = self.todo[wanted][0]
                _wait_for(self.common[1] / f"{key}.json")
                yield key
                done.remove(wanted)
                wanted += 1

    def _submit(self, number: int) -> None:
        key, recording = self.todo[number]
        name = (f"convert-{self._name}", number, self._rounds[number])
        future = self.client.submit(
            _convert, key, recording, recording.stamp(), *self.common, key=name, retries=2, pure=False
        )
        self._futures[number] = future
        future.add_done_callback(lambda _: self._finished.put(number))

    def _next(self) -> int:
        while True:
            with contextlib.suppress(Empty):
                return self._finished.get(timeout=_LOOK_S)
            if self._has_workers():
                self._workers_at_s = time.monotonic()
            elif time.monotonic() - self._workers_at_s > _DESERTED_S:
                raise UserError(
                    f"{self.address} has had no worker, or has not answered, for {_DESERTED_S / 60:.0f} minutes: "
                    "nothing is lost, start workers and run ingest again to continue"
                )

    def _has_workers(self) -> bool:
        try:
            return bool(self.client.nthreads(callback_timeout=_ANSWER_S))
        except (OSError, TimeoutError):  # the scheduler hangs, or is gone: then the futures are cancelled
            return False

    def _check(self, future: Any) -> None:
        """Raise what went wrong. The result itself is a file: to fetch one, its worker would have to be still there."""
        if future.status == "cancelled":
            raise UserError(
                f"the Dask scheduler at {self.address} went away: nothing is lost, run ingest again to continue"
            )
        if future.status == "error":
            error = future.exception()
            if isinstance(error, ImportError):
                raise UserError(f"a worker of {self.address} lacks a package: {error}") from error
            raise error


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Client]:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions are compared below
        try:
            if asyncio.run(_what_answers(address)) != "Scheduler":
                raise ValueError("a worker or nanny")
            client = Client(address, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"no Dask scheduler answers at {address}: check the address, or start one with `dask scheduler`"
            ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=_ANSWER_S)


async def _what_answers(address: str) -> Any:
    """Asked before the client does, which waits without end for one that takes the connection and says nothing."""
    async with rpc(address) as node:
        return (await asyncio.wait_for(node.identity(), _ANSWER_S))["type"]


def _on_workers(client: Client, address: str, site: Site) -> None:
    """Look at the cluster before the work begins; workers that join later look for themselves."""
    scheduler: Any = client.scheduler
    try:  # of the scheduler alone: a worker that hangs would be waited for
        there = client.sync(scheduler.versions, callback_timeout=_ANSWER_S)["packages"]["distributed"]
    except TimeoutError as error:
        raise UserError(f"the Dask scheduler at {address} does not answer: start it again") from error
    if (here := version("distributed")) != there:
        raise UserError(f"the scheduler at {address} has distributed {there}, this machine {here}: use one version")
    try:
        client.wait_for_workers(1, timeout=_WORKERS_S)
    except TimeoutError as error:
        raise UserError(f"{address} has no workers: start some with `dask worker {address} --nthreads 1`") from error
    if several := next((name for name, threads in client.nthreads().items() if threads > 1), None):
        raise UserError(
            f"worker {several} has several threads: start workers with --nthreads 1, one per core, so that a crash "
            "costs one recording"
        )
    with contextlib.suppress(TimeoutError):  # of a worker that hangs; each looks again before it converts
        found = client.sync(client._run, site.check, on_error="return", callback_timeout=_VISIBLE_S)
        for answer in found.values():
            if isinstance(answer, ImportError):
                raise UserError(f"a worker of {address} lacks a package: {answer}") from answer
            if isinstance(answer, UserError):  # else it has just gone
                raise answer


def _convert(
    key: str, recording: Recording, stamp: str, config: Clips, work: Path, patience_s: float, site: Site
) -> None:
    """On a worker: as `workers._convert`, in a thread that is not the main one."""
    with _one_at_a_time:  # on a worker of several threads that joined late
        site.check()
        site.check_files(recording, stamp)
        busy = work / f"{key}.busy"
        lives = _LIVES - (busy.stat().st_size if busy.exists() else 0)
        if lives <= 0:
            reason = f"it brought {_LIVES} workers down: it crashes the decoder, hangs, or needs too much memory"
            give_up(recording, work, key, reason)
            return
        with busy.open("ab") as file:
            file.write(b"x")
        faulthandler.dump_traceback_later(patience_of(recording, patience_s), exit=True)
        try:
            attempt(recording, config, work, key)
        finally:
            faulthandler.cancel_dump_traceback_later()
            busy.unlink(missing_ok=True)


def _wait_for(index: Path) -> None:
    until_s = time.monotonic() + _VISIBLE_S
    while not index.exists():
        if time.monotonic() > until_s:
            raise UserError(f"a worker wrote {index}, which this machine does not see: is the folder shared?")
        time.sleep(0.1)
