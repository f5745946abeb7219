"""What a container sees: what the answer of :mod:`avsa.doctor.within` means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avsa.config import Config
from avsa.doctor import tracking
from avsa.doctor.check import OK, PROBLEM, WARNING, Finding
from avsa.doctor.space import judge_shared

PROGRAM = Path(__file__).with_name("within.py")
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Seen:
    """The program's answer."""

    shared: int | None  # bytes free in /dev/shm
    torch: str | None
    gpus: list[str]
    status: int  # of the tracking server's answer, 0 for none
    body: str
    error: str


def parse(output: str) -> Seen | None:
    """The answer within what a container printed; None without one."""
    for line in output.splitlines():
        if line.startswith("avsa-doctor "):
            return Seen(**json.loads(line.removeprefix("avsa-doctor ")))
    return None


def verdicts(seen: Seen, uri: str, config: Config, host_has_gpu: bool) -> Iterator[Finding]:
    """PyTorch and its GPUs, shared memory, tracking server; each as seen from within."""
    yield _gpu(seen, config, host_has_gpu)
    if seen.shared is not None:
        yield _within(judge_shared(seen.shared, config, "-A shm-size=SIZE"))
    found = tracking.judge(uri, seen.status, seen.body, seen.error)
    if found.level == PROBLEM and seen.status == 0 and _local(uri):
        found = Finding(PROBLEM, found.text, "localhost is the container itself: -A net=host, or the server's own name")
    yield _within(found)


def _gpu(seen: Seen, config: Config, host_has_gpu: bool) -> Finding:
    if seen.torch is None:
        return Finding(PROBLEM, "the image has no PyTorch that can be imported", "make image builds one that has it")
    if seen.gpus:
        return Finding(OK, f"PyTorch {seen.torch} sees {', '.join(seen.gpus)} from within")
    if host_has_gpu or config.engine.device == "cuda":
        mend = "-A gpus=all, the NVIDIA container toolkit on this machine, and an image for GPUs"
        level = PROBLEM if config.engine.device == "cuda" else WARNING
        return Finding(level, f"PyTorch {seen.torch} sees no GPU from within", mend)
    return Finding(OK, f"PyTorch {seen.torch}; no GPU here, and none within")


def _local(uri: str) -> bool:
    return any(f"//{name}" in uri or f"@{name}" in uri for name in ("localhost", "127.0.0.1", "[::1]"))


def _within(found: Finding) -> Finding:
    return Finding(found.level, f"{found.text}, from within", found.mend)
