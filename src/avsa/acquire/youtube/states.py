"""What can become of a listed video, and how the ways to fail are told apart."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator
from typing import Literal, get_args

State = Literal[
    "ok",
    "gone",  # removed, or its account closed
    "private",
    "geo-blocked",
    "login-required",  # age-restricted, members only, paid
    "no-spatial-audio",
    "cube-map-only",  # YouTube's EAC or another mesh
    "stereoscopic-only",  # two panoramas in one picture
    "no-format",  # nothing that can be fetched: DRM, live, HLS alone
    "too-large",
    "wrong-type",  # something else than media, such as an error page
    "damaged",  # media that ends before it should, or cannot be read
    "forbidden",
    "rate-limited",
    "network",
    "failed",  # none of the above: the error says what
]
STATES: tuple[State, ...] = get_args(State)

PASSING: frozenset[State] = frozenset({"rate-limited", "network"})
"""A pause helps: tried again within a run."""

SETTINGS: dict[State, tuple[str, ...]] = {
    "gone": ("address",),
    "private": ("address", "cookies"),
    "geo-blocked": ("address", "proxy", "cookies"),
    "login-required": ("address", "cookies"),
    "no-spatial-audio": ("address", "clients", "options"),
    "cube-map-only": ("address", "clients", "options"),
    "stereoscopic-only": ("address", "clients", "options"),
    "too-large": ("address", "max_mb", "max_height"),
    "wrong-type": ("address",),
}
"""What is final, until one of these settings changes; a later run tries all the others again."""


class Failure(Exception):  # noqa: N818 - an outcome rather than an error
    """An attempt came to nothing."""

    def __init__(self, state: State, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.state, self.reason, self.retry_after_s = state, reason, retry_after_s


_BY_STATUS: dict[int, State] = {
    **{401: "login-required", 403: "forbidden", 404: "gone", 410: "gone", 416: "damaged", 451: "geo-blocked"},
    **{408: "network", 425: "network", 429: "rate-limited"},
}

# The first that fits decides. YouTube's words, in English whatever the country, and those of yt-dlp and of the system.
_BY_WORDS: tuple[tuple[State, str], ...] = (
    ("rate-limited", r"not a bot|too many requests|rate.?limit|try again later|captcha|http error 429"),
    ("private", r"private video|video is private"),
    (
        "geo-blocked",
        r"(in|from) your (country|location|region)|geo.?restrict|blocked it (in|on)|http error 451",
    ),
    (
        "login-required",
        r"confirm your age|age.?restricted|inappropriate for some|members.?only|members on level|join this channel"
        r"|requires payment|log ?in|sign in",
    ),
    (
        "gone",
        r"has been removed|removed by|been terminated|been closed|account.*(terminated|closed)|no longer available"
        r"|does not exist|video unavailable|(video|content) (is|isn.t|is not) (not )?available|http error (404|410)",
    ),
    ("forbidden", r"http error 403"),
    ("network", r"http error (408|425|5\d\d)|timed? ?out|connection|refused|reset by|resolve|unreachable|incomplete"),
    ("network", r"bytes read|remote end|did not get any data|ssl|eof occurred|transport|empty response"),
    ("no-format", r"no video formats|format is not available|drm protected|no player clients|live event|premieres"),
    ("wrong-type", r"unsupported url|not a valid url|no suitable extractor"),
)


def classify(error: BaseException, hints: str = "") -> Failure:
    """The failure that an exception of yt-dlp's, or one below it, amounts to.

    Args:
        hints: warnings that came before it; yt-dlp drops an application of YouTube's that answers 429 with a warning.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split()))
    reason = plain.removeprefix("ERROR: ") or type(error).__name__
    for cause in causes(error):
        if isinstance(cause, Failure):
            return cause
        status = getattr(cause, "status", None)
        if isinstance(status, int) and status >= 400:
            state = _BY_STATUS.get(status, "network" if status >= 500 else "failed")
            return Failure(state, reason, _retry_after_s(cause))
        if type(cause).__name__ == "GeoRestrictedError":
            return Failure("geo-blocked", reason)
    for text in (reason, " ".join(hints.split())):
        for state, words in _BY_WORDS:
            if re.search(words, text, re.IGNORECASE):
                return Failure(state, text)
    return Failure("failed", reason)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that it came from; yt-dlp keeps some as ``cause`` or ``exc_info``."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        this = waiting.pop()
        if not isinstance(this, BaseException) or id(this) in seen:
            continue
        seen.add(id(this))
        yield this
        exc_info = getattr(this, "exc_info", None)
        waiting += [this.__context__, this.__cause__, getattr(this, "cause", None), exc_info[1] if exc_info else None]


def _retry_after_s(error: BaseException) -> float | None:
    """What the answer's Retry-After asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    value = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After")
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    parsed = email.utils.parsedate_tz(value)
    return None if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - time.time())
