"""All listed videos: several workers, one ledger, from where the last run stopped."""

from __future__ import annotations

import errno
import fcntl
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from avsa.acquire.youtube.downloads import Downloads, Record
from avsa.acquire.youtube.fetch import PARTIAL, Fetcher, settle
from avsa.acquire.youtube.lists import SEGMENTS, Item, Lists
from avsa.acquire.youtube.pace import Pace, Stopped
from avsa.acquire.youtube.session import check_clients
from avsa.clips.convert import write_atomically
from avsa.config import Download
from avsa.errors import UserError

_PATIENCE_S = 3.0  # for workers to stop; what a silent server holds up is left behind


def download(lists: Lists, raw: Path, config: Download, limit: int | None = None, again: bool = False) -> Downloads:
    """Fetch what is not there yet, and may come, to `raw`: ``{train,val,test}/ID.*`` and ``downloads.jsonl``.

    ``segments.txt`` is copied beside them, so that ingest cuts the listed clips. A run that is interrupted, in whatever
    way, loses nothing that arrived: the next goes on with the byte that follows.

    Args:
        limit: try so many videos at most.
        again: try also what is final, such as videos that were gone.

    Raises:
        UserError: another run is at work there, no space is left, the ledger is damaged, settings that yt-dlp does not
            accept, or a server that lets nobody in for now.
    """
    check_clients(config)
    cookies = _read_cookies(config.cookies)
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with _alone(raw):
            downloads = Downloads(raw)
            downloads.compact()
            for record in downloads.records.values():
                settle(record, raw)
            if lists.segments_file:
                write_atomically(raw / SEGMENTS, lists.segments_file.read_bytes())
            todo = [item for item in lists if _wanted(downloads, item, config, again)]
            _run(todo[:limit], len(lists.splits), downloads, raw, config, cookies)
            downloads.compact()
            return downloads
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no space left in {raw}: nothing is lost, make room and run it again") from error
        raise


def _wanted(downloads: Downloads, item: Item, config: Download, again: bool) -> bool:
    record = downloads.records.get(item.id)
    return not downloads.final(item.id, config) or (again and record is not None and record.state != "ok")


def _run(todo: list[Item], listed: int, downloads: Downloads, raw: Path, config: Download, cookies: str) -> None:
    pace, meter = Pace(config.interval_s), _Meter()
    fetcher = Fetcher(raw, config, pace, cookies, meter.add)
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[Record | BaseException] = queue.SimpleQueue()
    for item in todo:
        waiting.put(item)
    # Daemons: a server that sends nothing must not keep the program from ending.
    workers = [
        threading.Thread(target=_work, args=(fetcher, waiting, done), daemon=True)
        for _ in range(min(config.workers, len(todo)))
    ]
    for worker in workers:
        worker.start()
    states: Counter[str] = Counter()
    turned_away, left = 0, len(todo)
    try:
        with tqdm(total=listed, initial=listed - len(todo), desc="download", unit="video", smoothing=0) as bar:
            while left:
                try:
                    record = done.get(timeout=1.0)
                except queue.Empty:
                    bar.set_postfix({**states, "MB/s": meter.speed()})
                    continue
                if isinstance(record, BaseException):
                    raise record
                _keep(record, downloads, raw)
                states[record.state] += 1
                left -= 1
                bar.set_postfix({**states, "MB/s": meter.speed()}, refresh=False)
                bar.update()
                turned_away = turned_away + 1 if record.state == "rate-limited" else 0
                if turned_away >= config.workers and left:
                    raise UserError(
                        f"{turned_away} videos in a row were refused because of too many requests ({record.error}): "
                        f"run it again later, it goes on with the {left + turned_away} that are left; "
                        "download.cookies, download.proxy and a longer download.interval_s may help"
                    )
    finally:
        pace.stop()
        for worker in workers:
            worker.join(timeout=_PATIENCE_S / len(workers))
        while not done.empty():
            if isinstance(record := done.get(), Record):
                _keep(record, downloads, raw)
                left -= 1
        if left:
            print(f"stopped with {left} videos to go: run it again to continue", file=sys.stderr)


def _work(fetcher: Fetcher, waiting: queue.SimpleQueue[Item], done: queue.SimpleQueue[Record | BaseException]) -> None:
    try:
        while True:
            fetcher.pace.check()
            done.put(fetcher.fetch(waiting.get_nowait()))
    except (queue.Empty, Stopped):
        return
    except BaseException as error:  # the main thread raises it
        done.put(error)


def _keep(record: Record, downloads: Downloads, raw: Path) -> None:
    """The ledger first: a kill after it leaves files that the next run moves, a kill before it nothing but bytes."""
    downloads.add(record)
    settle(record, raw)


class _Meter:
    """Bytes that all workers received, as a speed over the last seconds."""

    def __init__(self) -> None:
        self._lock, self._bytes, self._since = threading.Lock(), 0, time.monotonic()
        self._speed = 0.0

    def add(self, count: int) -> None:
        with self._lock:
            self._bytes += count

    def speed(self) -> str:
        with self._lock:
            now = time.monotonic()
            if now - self._since >= 1:
                self._speed = self._bytes / 1e6 / (now - self._since)
                self._bytes, self._since = 0, now
            return f"{self._speed:.1f}"


@contextmanager
def _alone(raw: Path) -> Iterator[None]:
    work = raw / PARTIAL
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another download is writing to {raw}: wait for it") from None
        yield


def _read_cookies(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"download.cookies: {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
