"""Which process a run belongs to, and whether it lives."""

from __future__ import annotations

import os
import socket
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


def this_process() -> dict[str, Any]:
    """What tells this process from all others, also from a later one of the same number."""
    return {"machine": machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def lives(process: dict[str, Any]) -> bool | None:
    """Whether the process of :func:`this_process` still runs; None where it is of another machine."""
    if process.get("machine") != machine():
        return None
    try:
        found = psutil.Process(process["pid"])
        return bool(abs(found.create_time() - process["started"]) < 1 and found.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, KeyError):
        return False
