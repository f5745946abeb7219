"""yt-dlp as a library: what one application of YouTube's is offered, and one format into a file."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsa.acquire.youtube.formats import Offer
from avsa.acquire.youtube.pace import Stopped
from avsa.acquire.youtube.states import Failure, causes, classify
from avsa.config import Download
from avsa.errors import UserError

_NO_AGENT = "+no-agent"
_YOUTUBE = {"formats": ["missing_pot"]}  # also formats that it expects to be refused with 403: not all are
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True)
class Listing:
    """The formats on offer for a video."""

    offers: list[Offer]
    youtube: bool  # else a mirror's file: there is nobody else to ask as


class _Log:
    """Takes yt-dlp's messages; what it warns of may be why nothing is on offer."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """yt-dlp says with it what it does."""

    info = debug

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """It is raised, too."""


class Session:
    """One worker's yt-dlp, as one application of YouTube's.

    Args:
        client: yt-dlp's name of the application, ``+no-agent`` after it sends an empty User-Agent.
        cookies: content of a cookies file; yt-dlp would write to the file itself.
    """

    def __init__(self, config: Download, client: str, cookies: str) -> None:
        import yt_dlp

        name = client.removesuffix(_NO_AGENT)
        ours = config.options.get("extractor_args", {})
        self._log, self._client = _Log(), client
        self._watch: Callable[[int, int | None], None] = lambda done, of: None
        options: dict[str, Any] = {
            "allowed_extractors": ["youtube", "generic"],
            "retries": 0,
            "fragment_retries": 0,
            "extractor_retries": 0,
            "file_access_retries": 0,
            **config.options,
            "logger": self._log,
            "quiet": True,
            "noprogress": True,
            "noplaylist": True,
            "format": "all",
            "updatetime": False,
            "skip_unavailable_fragments": False,  # a video with a hole is none
            "socket_timeout": config.timeout_s,
            "extractor_args": {**ours, "youtube": {**_YOUTUBE, **ours.get("youtube", {}), "player_client": [name]}},
            "http_headers": {
                **config.options.get("http_headers", {}),
                **({"User-Agent": ""} if client.endswith(_NO_AGENT) else {}),
            },
        }
        if config.proxy:
            options["proxy"] = config.proxy
        if config.rate_mb_s:
            options["ratelimit"] = config.rate_mb_s * 1e6 / config.workers
        if cookies:
            options["cookiefile"] = io.StringIO(cookies)
        try:
            self._ydl: Any = yt_dlp.YoutubeDL(options)
            self._ydl.cookiejar.clear_expired_cookies()  # reads them
        except Exception as error:  # of options or cookies that the user gave
            raise UserError(f"yt-dlp does not accept download.options or download.cookies: {error}") from None
        self._ydl.add_progress_hook(lambda at: self._watch(int(at.get("downloaded_bytes") or 0), at.get("total_bytes")))

    def list(self, address: str) -> Listing:
        """Ask what there is.

        Raises:
            Failure: nothing, for one of many reasons.
        """
        try:
            info: dict[str, Any] = self._ydl.extract_info(address, download=False)
        except Exception as error:
            raise classify(error, " ".join(self._log.warnings)) from error
        youtube = info.get("extractor_key") == "Youtube"
        if not youtube and not info.get("direct"):
            raise Failure("wrong-type", "the address leads to a page or a list, not to a media file")
        if info.get("live_status") in ("is_live", "is_upcoming"):
            raise Failure("no-format", f"a live event: {info['live_status']}")
        client = self._client if youtube else ""
        return Listing([Offer(client, offered) for offered in info.get("formats") or ()], youtube)

    def fetch(self, offer: Offer, path: Path, watch: Callable[[int, int | None], None]) -> None:
        """Download a format to `path`, going on with what an earlier attempt left in ``<path>.part``.

        Args:
            watch: called every few kilobytes with the bytes so far and all bytes, None if that is not known; what it
                raises ends the download.

        Raises:
            Failure: it did not arrive whole; what came stays.
            OSError: the disk is full, or cannot be written to.
        """
        self._watch = watch
        try:
            succeeded, _ = self._ydl.dl(str(path), dict(offer.format))
        except Stopped:
            raise
        except Exception as error:
            for cause in causes(error):
                if isinstance(cause, OSError) and cause.errno in _OF_THE_DISK:
                    raise OSError(cause.errno, os.strerror(cause.errno or 0), str(path)) from error
            raise classify(error) from error
        if not succeeded or not path.is_file():
            raise Failure("network", "the download ended without a file")


def check_clients(config: Download) -> None:
    """Raises UserError for an application that yt-dlp does not know."""
    from yt_dlp.extractor.youtube._base import INNERTUBE_CLIENTS

    known = sorted(name for name in INNERTUBE_CLIENTS if not name.startswith("_"))
    for client in config.clients:
        if client.removesuffix(_NO_AGENT) not in known:
            raise UserError(f"download.clients: yt-dlp does not know {client!r}; it knows {', '.join(known)}")
