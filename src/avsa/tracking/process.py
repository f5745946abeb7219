"""Which process a run belongs to, and whether it lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@cache
def machine() -> str:
    """This boot of this machine, as far as process numbers mean the same: containers are machines of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def started(pid: int) -> float:
    """When a process began, in seconds on a clock that nobody sets; where the system has none, on the machine's.

    Raises:
        psutil.NoSuchProcess: there is none of this number.
    """
    with suppress(OSError):  # proc(5): the 22nd field, in ticks since the machine started; the second may hold anything
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    return float(psutil.Process(pid).create_time())


def this_process() -> dict[str, Any]:
    """What tells this process from all others, also from a later one of the same number."""
    return {"machine": machine(), "pid": os.getpid(), "started": started(os.getpid())}


def lives(process: dict[str, Any]) -> bool | None:
    """Whether the process of :func:`this_process` still runs; None where it is of another machine."""
    if process.get("machine") != machine():
        return None
    try:
        found = psutil.Process(process["pid"])
        same = abs(started(found.pid) - float(process["started"])) < 1
        return same and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError):
        return False
