"""A question about this machine and project, and its answer. None is waited for longer than it says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
PROBLEM: Literal["problem"] = "problem"
Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was found, in one line, and what to do about it."""

    level: Level
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Check:
    """``look`` says what it finds, one line after another. Importing ``tools`` is not in its time."""

    subject: str
    look: Callable[[], Iterable[Finding]]
    tools: tuple[str, ...] = ()
    timeout_s: float = 60.0


def examine(checks: Iterable[Check]) -> Iterator[tuple[str, Finding]]:
    """Subject and finding of all checks in their order; no answer in a check's time is a problem, too."""
    for check in checks:
        for finding in _answers(check):
            yield check.subject, finding


def reason(error: BaseException | str, longest: int = 160) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _answers(check: Check) -> Iterator[Finding]:
    """Findings of a thread that is left behind where it takes too long: what it waits for cannot be interrupted."""
    found: queue.Queue[Finding | None] = queue.Queue()
    ready = threading.Event()

    def work() -> None:
        try:
            for tool in check.tools:
                import_module(tool)
            ready.set()
            for finding in check.look():
                found.put(finding)
        except Exception as error:
            text = f"cannot be looked at: {type(error).__name__}: {reason(error)}"
            found.put(Finding(PROBLEM, text, "this check itself failed: the others still count"))
        ready.set()
        found.put(None)

    threading.Thread(target=work, name=f"doctor {check.subject}", daemon=True).start()
    ready.wait()
    while True:
        try:
            finding = found.get(timeout=check.timeout_s)
        except queue.Empty:
            yield Finding(PROBLEM, f"no answer within {check.timeout_s:.0f} s", "see whether what it asks hangs")
            return
        if finding is None:
            return
        yield finding
