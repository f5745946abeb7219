"""The training loop: phases of epochs of steps, restartable at any step.

Numbers run through all phases: steps (what is logged, from 1) and epochs (what the loader is asked for, from 0).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsa.config import Engine
from avsa.engine import checkpoint, distributed, random_state
from avsa.engine.averages import Averages
from avsa.engine.optim import adam
from avsa.engine.precision import autocast
from avsa.engine.progress import Progress, note
from avsa.engine.protocols import Batch, Phase, Tracker
from avsa.engine.signals import Interrupted, StopRequest
from avsa.errors import UserError


@dataclass(frozen=True)
class Position:
    """How far training is: ``steps`` in all, of which those up to ``logged`` went to the tracker."""

    phase: int = 0
    epoch: int = 0  # of the phase
    step: int = 0  # of the epoch
    steps: int = 0
    logged: int = -1


def train(
    phases: Sequence[Phase],
    config: Engine,
    device: torch.device,
    *,
    weight_decay: float,
    state_dir: Path,
    fingerprint: str,
    tracker: Tracker,
) -> None:
    """Train the phases' common model, going on from the checkpoint in ``state_dir`` if there is one.

    Every phase begins with a new optimiser on the weights that the last one left. A run that was killed and started
    again logs no step twice, and on the CPU (after :func:`~avsa.engine.distributed.setup`) ends with the same bits as
    one that was not. Called again after the end it restores the model and returns.

    With ``config.accumulate`` = n a step takes n batches of the loader, and its gradient is the mean of theirs. A loss
    over the whole batch, such as a contrastive one, sees one part at a time: its candidates are those of the part.

    Args:
        fingerprint: hash of the configuration and the data that the result depends on; name the folder after it too.

    Raises:
        UserError: loss or gradient not finite (the last checkpoint stays), checkpoint unreadable or of something else,
            fewer batches than a step takes.
        Interrupted: SIGTERM or SIGINT, after the state was saved.
    """
    models = {id(phase.task.model) for phase in phases}
    if len(models) != 1:
        raise ValueError(f"phases share one model, found {len(models)}")
    with StopRequest() as stop:
        _Training(phases, config, device, stop, weight_decay, state_dir, fingerprint, tracker).run()


@dataclass
class _Training:
    phases: Sequence[Phase]
    config: Engine
    device: torch.device
    stop: StopRequest
    weight_decay: float
    state_dir: Path
    fingerprint: str
    tracker: Tracker
    at: Position = Position()
    averages: Averages = field(default_factory=Averages)
    saved_at: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """All phases, from where the checkpoint stands."""
        self.model = self.phases[0].task.model.to(self.device)
        optimiser_state = self.restore()
        self.stored = self.tracker.last_step() if distributed.is_main() else -1  # what need not be logged again
        if distributed.is_main() and self.stored < self.at.logged:
            note(f"warning: the tracker has no metrics of this run after step {self.stored}, of {self.at.logged}")
        for phase in self.phases[self.at.phase :]:
            self.run_phase(phase, optimiser_state)
            phase.loader.close()
            optimiser_state = {}
        (number,) = distributed.maximum(self.stop.number)
        if number:  # it came after the last step
            raise Interrupted(int(number))

    def run_phase(self, phase: Phase, optimiser_state: dict[str, Any]) -> None:
        """The epochs of a phase, from where training stands."""
        self.net = distributed.wrap(phase.task)
        self.optimiser = adam(phase.task.trained(), self.weight_decay)
        if optimiser_state:
            self.optimiser.load_state_dict(optimiser_state)
        self.length = len(phase.loader) // self.config.accumulate  # steps in an epoch
        if self.length == 0:
            raise UserError(f"{phase.name}: the data does not fill one batch: lower the batch or add clips")
        done = self.at.epoch * self.length + self.at.step
        with closing(Progress(phase.name, done, phase.epochs * self.length)) as progress:
            for epoch in range(self.at.epoch, phase.epochs):
                self.run_epoch(phase, epoch, progress)

    def run_epoch(self, phase: Phase, epoch: int, progress: Progress) -> None:
        """The steps of an epoch, from where training stands; logged and saved when it is time."""
        number = epoch + sum(before.epochs for before in self.phases[: self.at.phase])
        batches = phase.loader.epoch(number, self.at.step * self.config.accumulate)
        self.model.train()
        for step in range(self.at.step, self.length):
            with random_state.kept():  # loaders may draw when they start, and they start in mid-epoch too
                parts: list[Batch] = list(islice(batches, self.config.accumulate))
            if len(parts) < self.config.accumulate:
                raise ValueError(f"the loader of {phase.name} ended before its length, {len(phase.loader)}")
            lr = phase.schedule(epoch * self.length + step)
            stop, due = self.update(parts, lr)
            progress.advance(sum(len(part.ids) for part in parts) * distributed.world_size())
            ends = step + 1 == self.length
            self.at = replace(self.at, step=step + 1, steps=self.at.steps + 1)
            if ends or self.at.steps % self.config.log_every == 0:
                self.log(phase, progress, {"lr": lr, "epoch": number}, with_validation=ends)
            if ends:
                over = epoch + 1 == phase.epochs
                self.at = replace(self.at, phase=self.at.phase + over, epoch=0 if over else epoch + 1, step=0)
            if ends or stop or due:
                self.save()
            if stop:
                raise Interrupted(stop)

    def update(self, parts: Sequence[Batch], lr: float) -> tuple[int, bool]:
        """One step. Returns what all ranks agree on: the signal to stop for (0: none), whether to save."""
        self.optimiser.zero_grad()
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        for number, part in enumerate(parts, start=1):
            with distributed.exchange(self.net, now=number == len(parts)):
                with autocast(self.device, self.config.precision):
                    loss, metrics = self.net(part.to(self.device))
                (loss / len(parts)).backward()
            finite &= loss.detach().isfinite()
            self.averages.add({"loss": loss, **metrics})
        norm = gradient_norm(self.optimiser)
        self.averages.add({"gradient_norm": norm})
        due = distributed.is_main() and time.monotonic() - self.saved_at >= self.config.checkpoint_every_s
        broken, stop, save = distributed.maximum(not (finite & norm.isfinite()), self.stop.number, due)
        if broken:
            self.refuse(bool(finite), parts)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        return int(stop), bool(save)

    def refuse(self, finite_loss: bool, parts: Sequence[Batch]) -> None:
        """Stop before the update; name and keep the examples of the ranks whose loss was not finite, or else of all."""
        kept = self.keep(parts)
        found = distributed.collect((finite_loss, [name for part in parts for name in part.ids], kept))
        guilty = [(ids, path) for finite, ids, path in found if not finite] or [(ids, path) for _, ids, path in found]
        what = "gradient" if all(finite for finite, _, _ in found) else "loss"
        names = ", ".join(name for ids, _ in guilty for name in ids)
        raise UserError(
            f"{what} not finite at step {self.at.steps + 1} (batch: {names}); the checkpoint in {self.state_dir} is "
            "older: lower the learning rate, set engine.precision to fp32, or look at these clips",
            evidence=[path for _, path in guilty if path],
        )

    def keep(self, parts: Sequence[Batch]) -> Path | None:
        """Write this rank's batch, as its loader gave it, beside the checkpoint; None where that fails."""
        path = self.state_dir / f"refused-{distributed.rank()}.pt"
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            torch.save({"step": self.at.steps + 1, "parts": [dict(vars(part)) for part in parts]}, path)
        except (OSError, RuntimeError, TypeError) as error:
            note(f"warning: the batch cannot be kept: {error}")
            return None
        return path

    def log(self, phase: Phase, progress: Progress, facts: dict[str, float], with_validation: bool) -> None:
        """Means since the last time, facts of this step and, at an epoch's end, validation: all as one entry."""
        rate = progress.rate()
        means = self.averages.take()
        metrics = {f"train/{name}": value for name, value in {**means, **facts, "clips_per_s": rate}.items()}
        if with_validation and phase.validate is not None:
            self.model.eval()
            with random_state.kept(), torch.no_grad(), autocast(self.device, self.config.precision):
                metrics |= phase.validate()
            self.model.train()
        if distributed.is_main() and self.at.steps > self.stored:
            self.tracker.log(metrics, self.at.steps)
        self.at = replace(self.at, logged=self.at.steps)
        progress.show(means, rate)

    def save(self) -> None:
        """Write the checkpoint (rank 0), after the tracker has stored what was logged so far."""
        ranks = distributed.collect({"random": random_state.capture(), "averages": self.averages.state()})
        phase_over = self.at.epoch == self.at.step == 0
        optimiser_state = {} if phase_over else self.optimiser.state_dict()  # the next phase begins with a new one

        def write() -> None:
            self.tracker.flush()
            state = {
                "fingerprint": self.fingerprint,
                "run_id": self.tracker.run_id,
                "position": asdict(self.at),
                "model": self.model.state_dict(),
                "optimiser": optimiser_state,
                "ranks": ranks,
            }
            checkpoint.save(state, self.state_dir)

        distributed.on_main(write)
        self.saved_at = time.monotonic()

    def restore(self) -> dict[str, Any]:
        """Go to where the checkpoint stands, if there is one. Returns the optimiser's state."""
        state = distributed.on_main(lambda: checkpoint.load(self.state_dir, self.fingerprint))
        if state is None:
            return {}
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise UserError(f"the checkpoint in {self.state_dir} is of another architecture: move it away") from error
        self.at = Position(**state["position"])
        if len(state["ranks"]) == distributed.world_size():
            mine = state["ranks"][distributed.rank()]
            random_state.restore(mine["random"])
            self.averages.restore(mine["averages"])
        else:
            note(f"warning: saved by {len(state['ranks'])} processes: random numbers differ from an unbroken run's")
        note(f"continuing after step {self.at.steps} from {self.state_dir}")
        optimiser_state: dict[str, Any] = state["optimiser"]
        return optimiser_state


def gradient_norm(optimiser: torch.optim.Optimizer) -> Tensor:
    """Euclidean norm of the gradient of all parameters; not finite where any of it is not."""
    gradients = []
    for parameter in (p for group in optimiser.param_groups for p in group["params"]):
        if parameter.grad is None:  # with several ranks all would wait for it
            raise ValueError("the task's trained() names parameters that its loss does not reach")
        gradients.append(parameter.grad)
    return nn.utils.get_total_norm(gradients)
