"""What the training loop asks of the things it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from avsa.engine.optim import Schedule


class Batch(Protocol):
    """Training examples of one rank."""

    @property
    def ids(self) -> list[str]:
        """One id per example: errors name them, throughput counts them."""

    def to(self, device: torch.device) -> Self:
        """The same batch on the device."""


class Task(Protocol):
    """A model and a loss over it."""

    @property
    def model(self) -> nn.Module:
        """All that is trained and saved. The phases of a curriculum share one model."""

    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that the loss reaches; the others are frozen while this task trains."""

    def step(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics: scalars, means over this rank's examples. Every use of the model is inside this call."""


class Loader(Protocol):
    """The batches of one rank. A batch depends on its epoch and place alone, not on what was read before."""

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Any]:
        """The batches (see :class:`Batch`) of an epoch from the ``start_step``-th on."""

    def close(self) -> None:
        """End what works ahead; called when a phase is over."""


class Tracker(Protocol):
    """Where metrics go. The loop uses the one of rank 0 only."""

    @property
    def run_id(self) -> str:
        """The run's name in the store; checkpoints carry it."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics. Called at most once for a step, with growing steps; all of one call or nothing is stored."""

    def flush(self) -> None:
        """Return when all that was logged is stored for good. Called before every checkpoint."""

    def last_step(self) -> int:
        """The last step that the store holds for this run, -1 for none."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training with one task: a curriculum is a list of them.

    ``validate`` is called on every rank after each epoch, without gradients and in evaluation mode. What it returns,
    under the names it gives ("val/..."), is logged beside the training metrics of the epoch's last step.
    """

    name: str  # for the progress line, e.g. "avsa 1/2"
    task: Task
    loader: Loader
    epochs: int
    schedule: Schedule  # learning rate at a step of this phase
    validate: Callable[[], dict[str, float]] | None = None
