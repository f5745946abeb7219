"""Where trials run on this machine: each place has its share of the cores, or a GPU of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from avsa.config import Engine
from avsa.errors import UserError


@dataclass(frozen=True)
class Place:
    """A place for one trial at a time."""

    number: int
    cores: frozenset[int]
    gpu: str = ""  # as CUDA_VISIBLE_DEVICES names it

    def take(self) -> None:
        """Bind this process to the place; before CUDA is used."""
        os.sched_setaffinity(0, self.cores)
        if self.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu


def places(workers: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Place]:
    """As many places as workers, with the cores dealt out in runs; more workers than cores share them.

    Raises:
        UserError: more workers than GPUs, where there are GPUs.
    """
    if gpus and workers > len(gpus):
        raise UserError(f"--workers {workers}: every worker takes a GPU of its own, and {len(gpus)} are visible")
    share = max(1, len(cores) // workers)
    found = []
    for number in range(workers):
        first = number * share % len(cores)
        own = frozenset(cores[first : first + share])
        found.append(Place(number, own, gpus[number] if gpus else ""))
    return found


def visible_gpus(engine: Engine) -> list[str]:
    """The GPUs that trials may use, none where they run on the CPU; no GPU is touched."""
    if engine.device == "cpu":
        return []
    import torch

    count = torch.cuda.device_count()  # of "0,-1,1" CUDA shows what stands before the -1
    chosen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (chosen or [str(number) for number in range(count)])[:count]
