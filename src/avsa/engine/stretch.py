"""Epochs of another length than the data's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from avsa.engine.protocols import Loader


class Stretch:
    """A loader whose epochs have ``steps`` batches: each begins in the data where the one before ended."""

    def __init__(self, loader: Loader, steps: int) -> None:
        self.loader, self.steps = loader, steps

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Any]:
        """The batches of an epoch from the ``start_step``-th on."""
        at, end = epoch * self.steps + start_step, (epoch + 1) * self.steps
        while at < end:
            over_the_data, step = divmod(at, len(self.loader))
            for batch in islice(self.loader.epoch(over_the_data, step), end - at):
                yield batch
                at += 1

    def close(self) -> None:
        """End what works ahead."""
        self.loader.close()
