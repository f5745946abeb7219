"""Means of metrics over the steps between two log entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avsa.engine import distributed


class Averages:
    """Sums on the device: reading them, which waits for a GPU, happens only when they are logged or saved."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add scalars, each to the sum of its name."""
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value.detach().double(), count + 1)

    def take(self) -> dict[str, float]:
        """The means of what was added since the last call, over ranks too. Every rank calls it, with the same names."""
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return distributed.mean(means)

    def state(self) -> dict[str, Any]:
        """What is added up at present, for a checkpoint."""
        return {name: (total.cpu(), count) for name, (total, count) in self._sums.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self._sums = dict(state)
