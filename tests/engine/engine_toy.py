"""A small training job for the engine's tests, in their process or as ``python engine_toy.py JOBS``, {folder: job}."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsa.config import Engine
from avsa.engine import distributed, random_state
from avsa.engine.loop import train
from avsa.engine.optim import constant
from avsa.engine.protocols import Phase
from avsa.engine.signals import Interrupted


@dataclass(frozen=True)
class ToyBatch:
    x_B: Tensor
    y_B: Tensor
    ids: list[str]

    def to(self, device: torch.device) -> ToyBatch:
        return ToyBatch(self.x_B.to(device), self.y_B.to(device), self.ids)


@dataclass(frozen=True)
class ToyLoader:
    """Batch t of epoch e is the same examples whatever the number of ranks, of which each gets its slice."""

    length: int
    batch: int = 8
    rank: int = 0
    world_size: int = 1
    poison: int = -1  # the step of epoch 1 that holds a NaN
    parts: int = 1  # that a step's examples come in

    def __len__(self) -> int:
        return self.length * self.parts

    def close(self) -> None:
        pass

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[ToyBatch]:
        torch.rand(1)  # as PyTorch's own loader does when it starts
        share = self.batch // self.world_size // self.parts
        for item in range(start_step, len(self)):
            step, part = divmod(item, self.parts)
            generator = torch.Generator().manual_seed(1000 * epoch + step)
            x = torch.randn(self.batch, 1, 8, 8, generator=generator)
            y = torch.randint(0, 3, (self.batch,), generator=generator)
            if (epoch, step) == (1, self.poison):
                x[0, 0, 0, 0] = torch.nan
            names = [f"clip-{epoch}-{step}-{row}" for row in range(self.batch)]
            first = (self.rank * self.parts + part) * share
            yield ToyBatch(x[first : first + share], y[first : first + share], names[first : first + share])


def network(dropout: bool) -> nn.Module:
    random_state.seed(3)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()]
    if dropout:
        layers[1:1] = [nn.BatchNorm2d(4), nn.Dropout(0.3)]
    return nn.ModuleDict({"body": nn.Sequential(*layers), "head": nn.Linear(144, 3), "unused": nn.Linear(2, 2)})


@dataclass
class Classify:
    """Cross-entropy per example. ``before_step`` gets the number of the step in this process, from 1."""

    model: nn.Module
    before_step: Callable[[int], None] = lambda step: None
    steps: int = 0

    def trained(self) -> Iterable[nn.Parameter]:
        return [p for name, p in self.model.named_parameters() if "unused" not in name]

    def features(self, batch: ToyBatch) -> Tensor:
        self.steps += 1
        self.before_step(self.steps)
        features: Tensor = self.model["head"](self.model["body"](batch.x_B))  # type: ignore[index]
        return features

    def step(self, batch: ToyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.features(batch)
        return F.cross_entropy(logits, batch.y_B), {"accuracy": (logits.argmax(1) == batch.y_B).float().mean()}


class SteepAtZero(Classify):
    """A finite loss whose gradient is not: the slope of a square root at 0."""

    def step(self, batch: ToyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().step(batch)
        return loss + (0 * loss).sqrt(), metrics


class TooManyTrained(Classify):
    """Claims to train a layer that the loss does not reach."""

    def trained(self) -> Iterable[nn.Parameter]:
        return self.model.parameters()


class Contrast(Classify):
    """Each example's features against those of its darkened copy, the candidates being all examples of all ranks."""

    def step(self, batch: ToyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        ours = F.normalize(self.features(batch), dim=1)
        theirs = F.normalize(self.features(ToyBatch(batch.x_B * 0.5 - 0.3, batch.y_B, batch.ids)), dim=1)
        if distributed.world_size() > 1:
            import torch.distributed.nn.functional as collective

            theirs = torch.cat(list(collective.all_gather(theirs)))
        target = torch.arange(len(ours)) + distributed.rank() * len(ours)
        return F.cross_entropy(ours @ theirs.T / 0.5, target), {}


TASKS: dict[str, type[Classify]] = {
    "classify": Classify,
    "contrast": Contrast,
    "steep": SteepAtZero,
    "unreached": TooManyTrained,
}


@dataclass
class FileTracker:
    """Lines of JSON. What was logged counts as stored when it was flushed; every ``buffer`` entries it is by itself."""

    path: Path
    run_id: str = "run-1"
    buffer: int = 2
    pending: list[str] = field(default_factory=list)

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.pending.append(json.dumps({"step": step, **metrics}) + "\n")
        if len(self.pending) >= self.buffer:
            self.flush()

    def flush(self) -> None:
        with self.path.open("a") as file:
            file.writelines(self.pending)
        self.pending.clear()

    def last_step(self) -> int:
        return int(self.entries()[-1]["step"]) if self.path.exists() else -1

    def entries(self) -> list[dict[str, float]]:
        """All entries without the times, which no two runs share."""
        entries = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [{key: value for key, value in entry.items() if key != "train/clips_per_s"} for entry in entries]


@dataclass(frozen=True)
class Job:
    """What a test can choose. ``kill`` is [step in the process, signal, rank]: the process signals itself before it."""

    task: str = "classify"
    dropout: bool = True
    length: int = 8
    batch: int = 8
    poison: int = -1
    parts: int = 1
    kill: tuple[int, int, int] | None = None
    engine: dict[str, Any] = field(default_factory=dict)


def run(folder: Path, job: Job) -> nn.Module:
    """Train two phases of two epochs in ``folder`` and return the model."""
    config = Engine.model_validate({"device": "cpu", "precision": "fp32", "log_every": 3, "threads": 1} | job.engine)
    device = distributed.setup(config)
    model = network(job.dropout)
    rank, world_size = distributed.rank(), distributed.world_size()
    random_state.seed(7, rank)

    def before_step(step: int) -> None:
        if job.kill is not None and (step, rank) == (job.kill[0], job.kill[2]):
            os.kill(os.getpid(), job.kill[1])

    task = TASKS[job.task](model, before_step)
    loader = ToyLoader(job.length, job.batch, rank, world_size, job.poison, job.parts)
    held_out = next(ToyLoader(1).epoch(99))

    def validate() -> dict[str, float]:
        assert not model.training
        torch.rand(3)  # validation may draw random numbers too
        return {"val/loss": float(Classify(model).step(held_out)[0])}

    phases = [
        Phase("toy 1/2", task, loader, 2, constant(1e-2), validate),
        Phase("toy 2/2", task, loader, 2, lambda step: 1e-2 / (1 + step), validate),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    train(
        phases,
        config,
        device,
        weight_decay=1e-3,
        state_dir=folder / "state",
        fingerprint="toy",
        tracker=FileTracker(folder / "metrics.jsonl"),
    )
    return model


def main() -> None:
    """Run jobs one after another; every rank leaves its last gradients, or the message of its interruption."""
    for folder, job in json.loads(sys.argv[1]).items():
        try:
            model = run(Path(folder), Job(**job))
        except Interrupted as stopped:
            Path(folder, f"interrupted-{distributed.rank()}").write_text(str(stopped))
            continue
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        torch.save(gradients, Path(folder, f"gradients-{distributed.rank()}.pt"))
    distributed.cleanup()


if __name__ == "__main__":
    main()
