"""One listed video: ask for formats, choose, download, examine; again after a pause where that helps."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avsa.acquire.youtube.downloads import File, Record, now, settings_of
from avsa.acquire.youtube.formats import Choice, Lack, Offer, choose
from avsa.acquire.youtube.lists import Item
from avsa.acquire.youtube.media import Examined, examine, sha256
from avsa.acquire.youtube.pace import Pace, backoff_s
from avsa.acquire.youtube.session import Session
from avsa.acquire.youtube.states import PASSING, SETTINGS, Failure, State
from avsa.clips.sources.layout import AUDIO, VIDEO
from avsa.config import Download

PARTIAL = ".partial"
_SAME_FOR_ALL: frozenset[State] = PASSING | {"private", "geo-blocked"}  # whoever asks


@dataclass(frozen=True)
class Fetcher:
    """What all workers share.

    Attributes:
        raw: the folder that the videos go to; what is under way lies in its hidden folder ``.partial``.
        cookies: content of the cookies file.
        came: told of every few kilobytes that arrive, how many bytes.
    """

    raw: Path
    config: Download
    pace: Pace
    cookies: str
    came: Callable[[int], None]

    def fetch(self, item: Item) -> Record:
        """What became of a video. If it is "ok", `settle` moves its files into place.

        Raises:
            Stopped: the run is ending; what came so far stays.
            OSError: the disk is full, or cannot be written to.
        """
        most, failures = self._bytes(item), 0
        while True:
            try:
                return self._attempt(item)
            except Failure as failure:
                last = failure
            came = self._bytes(item)
            failures = 1 if came > most else failures + 1
            most = max(most, came)
            if last.state not in PASSING or failures >= self.config.attempts:
                break
            wait_s = last.retry_after_s or backoff_s(self.config.backoff_s, failures)
            if wait_s > self.config.max_wait_s:
                break
            if last.state == "rate-limited":
                self.pace.hold(wait_s)
            else:
                self.pace.sleep(wait_s)
        if last.state in SETTINGS or last.state == "damaged":
            self._forget(item)
        settings = settings_of(last.state, self.config)
        return Record(id=item.id, split=item.split, state=last.state, time=now(), error=last.reason, settings=settings)

    def _attempt(self, item: Item) -> Record:
        """Ask as one application after the other until one is offered all; take the best of what was offered.

        Raises:
            Failure: why nothing came of it; one that is final only if all of them say so.
        """
        sessions: dict[str, Session] = {}
        offers: list[Offer] = []
        refused: set[tuple[str, str]] = set()
        reasons: list[Failure] = []
        for number, client in enumerate(self.config.clients, 1):
            self.pace.turn()
            session = Session(self.config, client, self.cookies)
            last = number == len(self.config.clients)
            try:
                listing = session.list(item.address(self.config.address))
            except Failure as failure:
                if failure.state in _SAME_FOR_ALL:
                    raise
                reasons.append(failure)
            else:
                sessions[client if listing.youtube else ""] = session
                offers += listing.offers
                last = last or not listing.youtube
            while isinstance(choice := self._choose(offers, refused), Choice) and (last or choice.certain):
                try:
                    return self._bring(item, choice, sessions)
                except _RefusedError as refusal:
                    refused.add(refusal.offer.key)
                    reasons.append(refusal.failure)
            if last:
                break
        lack = self._choose(offers, set())
        if isinstance(lack, Lack) and (offers or not reasons):
            said = "; ".join([lack.reason, *(reason.reason for reason in reasons)])
            raise Failure(lack.state, said)
        raise next((reason for reason in reasons if reason.state not in SETTINGS), reasons[0])

    def _choose(self, offers: list[Offer], refused: set[tuple[str, str]]) -> Choice | Lack:
        left = [offer for offer in offers if offer.key not in refused]
        return choose(left, self.config.max_height, self.config.max_mb * 1e6)

    def _bring(self, item: Item, choice: Choice, sessions: dict[str, Session]) -> Record:
        paths: list[Path] = []
        before = 0  # bytes of the files that are complete
        for offer in choice.offers:
            path = partial_path(self.raw, item.split, item.id, *offer.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.pace.turn()
            try:
                sessions[offer.client].fetch(offer, path, self._watcher(before))
            except Failure as failure:
                if failure.state == "forbidden":
                    raise _RefusedError(offer, failure) from failure
                raise
            paths.append(path)
            size, said = path.stat().st_size, offer.format.get("filesize")
            if said and size != said:
                raise Failure("damaged", f"{size} bytes came of a file that should have {said}")
            before += size
        return self._record(item, choice, paths, examine(paths))

    def _watcher(self, before: int) -> Callable[[int, int | None], None]:
        most = self.config.max_mb * 1e6
        last = -1

        def watch(done: int, of: int | None) -> None:
            nonlocal last
            self.pace.check()
            if before + max(done, of or 0) > most:
                raise Failure(
                    "too-large", f"{(before + max(done, of or 0)) / 1e6:.0f} MB, {most / 1e6:.0f} are allowed"
                )
            if 0 <= last < done:
                self.came(done - last)
            last = done

        return watch

    def _record(self, item: Item, choice: Choice, paths: list[Path], found: Examined) -> Record:
        files = [
            File(
                path=f"{item.split}/{item.id}{_suffix(offer, len(paths))}",
                format=offer.key[1],
                client=offer.client,
                bytes=path.stat().st_size,
                sha256=sha256(path),
            )
            for offer, path in zip(choice.offers, paths, strict=True)
        ]
        return Record(
            id=item.id,
            split=item.split,
            state="ok",
            time=now(),
            files=files,
            duration_s=round(found.duration_s, 3),
            width=found.width,
            height=found.height,
            projection=choice.projection,
            channel_order=found.channel_order,
        )

    def _bytes(self, item: Item) -> int:
        return sum(path.stat().st_size for path in (self.raw / PARTIAL / item.split).glob(f"{item.id}.*"))

    def _forget(self, item: Item) -> None:
        for path in (self.raw / PARTIAL / item.split).glob(f"{item.id}.*"):
            path.unlink()


class _RefusedError(Exception):
    """The server does not give out one of the formats that it offers."""

    def __init__(self, offer: Offer, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.offer, self.failure = offer, failure


def partial_path(raw: Path, split: str, name: str, client: str, format_id: str) -> Path:
    """Where a format lies while it comes in: another application's may be other bytes under the same name."""
    return raw / PARTIAL / split / f"{name}.{client}.{re.sub(r'[^A-Za-z0-9_-]', '_', format_id)}"


def settle(record: Record, raw: Path) -> None:
    """Move the files of a record, which the ledger has, from where they came in to where they stay.

    A run that ends between the ledger's line and this is made good by the next one, which calls it for every record.
    """
    for file in record.files:
        source = partial_path(raw, record.split, record.id, file.client, file.format)
        if source.is_file() and source.stat().st_size == file.bytes:
            target = raw / file.path
            target.parent.mkdir(exist_ok=True)
            with source.open("rb") as opened:
                os.fsync(opened.fileno())
            source.replace(target)
    for rest in (raw / PARTIAL / record.split).glob(f"{record.id}.*"):
        rest.unlink()


def _suffix(offer: Offer, files: int) -> str:
    """A WebM is Matroska: beside a sound in WebM, the picture is called .mkv, so that the two keep one stem."""
    suffix = f".{offer.format.get('ext')}"
    if files == 1:
        return suffix if suffix in VIDEO else ".mkv"
    if offer.format.get("vcodec") == "none":
        return suffix if suffix in AUDIO else ".webm"
    return suffix if suffix in VIDEO and suffix != ".webm" else ".mkv"
