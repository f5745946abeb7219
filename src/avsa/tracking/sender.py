"""The thread that carries a journal to the tracking store, in order, for as long as it takes.

Every entry may be delivered twice (a connection can break after the store has acted), so delivery is idempotent:
metrics carry the time at which they were recorded, and the store keeps one row per name, step, time and value.

Artifacts are set aside and go, in their order, when all else is sent: they often lie elsewhere, such as on S3, and what
is slow or away there holds up neither metrics nor the status of a run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from tqdm import tqdm

from avsa.tracking.deliver import METRICS_AT_ONCE, deliver, deliver_metrics, is_final
from avsa.tracking.journal import Entry, Journal

if TYPE_CHECKING:
    from mlflow import MlflowClient

GATHER_S = 1.0  # entries of this long go in one request
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0  # between attempts
LONGEST_LATE_S = 60.0  # between attempts for artifacts that were set aside
CHUNK = 1 << 18  # bytes of the journal read at once


class Sender:
    """Sends what is in the journal and what comes; :meth:`settle` waits for it."""

    def __init__(self, journal: Journal, client: MlflowClient) -> None:
        self._journal, self._client = journal, client
        self._stop = threading.Event()
        self._hurry = threading.Event()  # somebody waits
        self._done = threading.Event()  # a chunk was sent
        self._away_since = 0.0  # 0: the store answers
        self._late_wait_s, self._late_at = 0.0, 0.0  # until artifacts are tried again; 0: their store answers
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def settle(self, timeout_s: float) -> bool:
        """Wait until the store has everything recorded so far, at most this long; whether it has."""
        until = time.monotonic() + timeout_s
        self._hurry.set()
        self._journal.wake()
        while self._journal.waiting and (left_s := until - time.monotonic()) > 0 and self._thread.is_alive():
            self._done.wait(min(left_s, 0.5))
            self._done.clear()
        self._hurry.clear()
        return not self._journal.waiting

    def close(self) -> None:
        """End the thread after the request it is at; what is not sent stays in the journal."""
        self._stop.set()
        self._hurry.set()
        self._journal.wake()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            late = self._late_is_due()
            if not self._journal.wait(0.0 if late else 0.5):
                if late:
                    self._late()
                continue
            if not self._away_since:
                self._hurry.wait(GATHER_S)
            if self._sent():
                wait_s = FIRST_WAIT_S
                self._done.set()
            else:
                self._stop.wait(min(wait_s, 1.0) if self._hurry.is_set() else wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _sent(self) -> bool:
        """Send a chunk; whether that went well. Nothing ends this thread but :meth:`close`."""
        try:
            return self._send()
        except Exception as error:  # of the journal: its disk is away
            self._away(error)
            return False

    def _send(self) -> bool:
        """Send a chunk; whether the store took it."""
        for batch, position in batches(self._journal):
            if self._stop.is_set():
                return True
            kind = batch[0]["kind"]
            try:
                if kind == "metrics":
                    deliver_metrics(self._client, batch)
                elif kind == "artifact":
                    self._journal.set_aside(batch[0], position)
                else:
                    deliver(self._client, self._journal, batch[0])
            except Exception as error:
                if not is_final(error):
                    self._away(error)
                    return False
                _refused(batch[0], error)
            self._journal.mark(position)
        if self._away_since:
            _say(f"the tracking store is back after {time.monotonic() - self._away_since:.0f} s")
            self._away_since = 0.0
        return True

    def _late_is_due(self) -> bool:
        """Whether to try an artifact that was set aside: sooner where somebody waits."""
        if self._hurry.is_set():
            self._late_at = min(self._late_at, time.monotonic() + 1.0)
        return bool(self._journal.late) and not self._away_since and time.monotonic() >= self._late_at

    def _late(self) -> None:
        entry, _ = self._journal.late[0]
        try:
            try:
                deliver(self._client, self._journal, entry)
            except Exception as error:
                if not is_final(error):
                    raise
                _refused(entry, error)
            self._journal.settle_first_late()
        except Exception as error:
            if not self._late_wait_s:
                _say(f"warning: files wait in {self._journal.folder}, the artifact store is away: {_line(error)}")
            self._late_wait_s = min(2 * self._late_wait_s or FIRST_WAIT_S, LONGEST_LATE_S)
            self._late_at = time.monotonic() + self._late_wait_s
            return
        if self._late_wait_s:
            _say("the artifact store is back")
            self._late_wait_s = 0.0
        self._done.set()

    def _away(self, error: Exception) -> None:
        if not self._away_since:
            self._away_since = time.monotonic()
            where = self._journal.folder
            _say(f"warning: the tracking store is away; what is recorded waits in {where}: {_line(error)}")


def _refused(entry: Entry, error: Exception) -> None:
    _say(f"warning: the tracking store refuses {entry['kind']}: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def batches(journal: Journal) -> Iterator[tuple[list[Entry], int]]:
    """Entries that can go in one request: neighbours with metrics of one run and checkpoint, else one by one."""
    chunk = list(journal.unsent(CHUNK))
    for (kind, *_), group in groupby(chunk, key=lambda item: [item[0].get(key) for key in ("kind", "run", "md5")]):
        batch: list[Entry] = []
        size = end = 0
        for entry, position in group:
            grown = size + len(entry.get("metrics", ()))
            if batch and (kind != "metrics" or grown > METRICS_AT_ONCE):
                yield batch, end
                batch, grown = [], len(entry.get("metrics", ()))
            batch.append(entry)
            size, end = grown, position
        yield batch, end
