"""Curricula under a fixed budget: from shares to epochs and steps, and from steps to what was seen.

A phase of a swept run says ``share`` in place of ``epochs``: the part that it takes of what is left of the budget when
it begins. The last phase of the last run takes all that is left and says none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avsa.config import Phase
from avsa.errors import UserError
from avsa.resolve import Resolved, overlay
from avsa.sweep.plan import Budget, Plan
from avsa.sweep.space import Space, Value


def cost(phase: Phase, budget: Budget) -> int:
    """What a step of the phase takes of the budget."""
    return phase.batch * phase.moments * (phase.crops if budget.crops else 1)


def spent(phases: Sequence[Phase], step: int, budget: Budget) -> int:
    """What the first ``step`` steps of the phases take; each phase says its ``steps``."""
    total = 0
    for phase in phases:
        taken = min(step, phase.epochs * (phase.steps or 0))
        total, step = total + taken * cost(phase, budget), step - taken
    return total


def timetable(runs: Sequence[tuple[list[Phase], list[float]]], budget: Budget, validations: int) -> list[list[Phase]]:
    """The runs' phases with epochs and steps that fill the budget.

    Epochs, at whose ends networks are validated, divide the whole budget into about ``validations`` parts. A phase of
    less than a step is left out, but every run keeps one; what does not make a whole epoch goes to the next phase, and
    of the last one it is lost (less than a step per epoch).

    Args:
        runs: phases and their shares of what is left when they begin; the last of all is 1.
    """
    left = budget.total
    filled: list[list[Phase]] = []
    for phases, shares in runs:
        kept: list[Phase] = []
        for phase, share in zip(phases, shares, strict=True):
            one = cost(phase, budget)
            steps = int(left * share) // one
            if steps == 0 and (kept or phase is not phases[-1]):
                continue
            epochs = _epochs(max(steps, 1), validations * share * left / budget.total)
            length = max(steps, 1) // epochs
            left -= epochs * length * one
            kept.append(phase.model_copy(update={"epochs": epochs, "steps": length}))
        filled.append(kept)
    return filled


def _epochs(steps: int, wanted: float) -> int:
    """About as many epochs as wanted, of the same length, so that the fewest steps are left over."""
    about = min(steps, max(1, round(wanted)))
    spread = max(1, about // 4)
    near = range(max(1, about - spread), min(steps, about + spread) + 1)
    return min(near, key=lambda epochs: (steps % epochs, abs(epochs - wanted), -epochs))


def configure(base: Resolved, plan: Plan, space: Space, params: dict[str, Value]) -> Resolved:
    """The configuration of a trial.

    Raises:
        UserError: an unknown path, a value that the configuration does not accept, a run without phases, a share that
            is missing, superfluous or none.
    """
    tree = space.fill(params)
    templates = tree.get("pretrain", {}).get("runs", {}) if isinstance(tree.get("pretrain", {}), dict) else {}
    shares = _take_shares(templates, plan, space.where)
    resolved = overlay(base, tree, space.where)
    written = resolved.config.pretrain.runs
    filled = timetable([(written[name], shares[name]) for name in plan.runs], plan.budget, plan.validations)
    runs = {name: [phase.model_dump() for phase in phases] for name, phases in zip(plan.runs, filled, strict=True)}
    return overlay(resolved, {"pretrain": {"runs": runs}}, space.where)


def _take_shares(templates: Any, plan: Plan, where: str) -> dict[str, list[float]]:
    """Take the shares out of the phases, which get an epoch in their place."""
    shares: dict[str, list[float]] = {}
    for name in plan.runs:
        phases = templates.get(name) if isinstance(templates, dict) else None
        path = f"{where}: space: pretrain.runs.{name}"
        if not isinstance(phases, list) or not phases or not all(isinstance(phase, dict) for phase in phases):
            raise UserError(f"{path}: the phases of this run are missing: each says its share of the budget")
        shares[name] = []
        for number, phase in enumerate(phases):
            ends = name == plan.runs[-1] and number == len(phases) - 1
            share = phase.pop("share", None)
            if phase.keys() & {"epochs", "steps"}:
                raise UserError(f"{path}.{number}: epochs and steps follow from the budget: give a share of it")
            if ends and share is not None:
                raise UserError(
                    f"{path}.{number}.share: the last phase takes what is left of the budget, and says none"
                )
            if not ends and (not isinstance(share, int | float) or not 0 <= share <= 1):
                raise UserError(f"{path}.{number}.share: between 0 and 1 of what is left of the budget, got {share!r}")
            phase["epochs"] = 1
            shares[name].append(1.0 if ends else float(share))
    return shares


def check(base: Resolved, plan: Plan, space: Space) -> None:
    """Ask the configuration about every end of every range.

    Raises:
        UserError: as :func:`configure`; it names the path, the value and the file.
    """
    configure(base, plan, space, space.paper)
    for _, _, params in space.corners():
        configure(base, plan, space, params)
