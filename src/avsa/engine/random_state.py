"""The state of every random generator that training can draw from, of one rank."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed(value: int, rank: int = 0) -> None:
    """Seed all generators, differently on each rank."""
    entropy = np.random.SeedSequence([value, rank]).generate_state(3)
    random.seed(int(entropy[0]))
    np.random.seed(int(entropy[1]))
    torch.manual_seed(int(entropy[2]))  # the GPUs' too


def capture() -> dict[str, Any]:
    """The generators' states as tensors, tuples and numbers: what a weights-only load accepts."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`capture` returned."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def kept() -> Iterator[None]:
    """What is drawn inside does not change what is drawn after."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
