"""The best of a search on seeds that it has not seen, beside the paper's configuration and random search's best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avsa.sweep.plan import Plan
from avsa.sweep.space import Params
from avsa.sweep.studies import PAPER, Studies, attempts, enqueue

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Candidate:
    """A configuration that is trained again: ``name`` is "search 12", "random 3" or "paper"."""

    name: str
    params: Params
    trial: FrozenTrial


def complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that saw the whole budget, the best first by the first metric."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return sorted(done, key=lambda trial: (-trial.values[0], trial.number))


def paper_trial(studies: Studies) -> FrozenTrial | None:
    """The trial of the paper's configuration, once it is complete."""
    done = complete(attempts(studies.search))
    return next((trial for trial in done if trial.user_attrs.get("kind") == PAPER), None)


def candidates(studies: Studies, plan: Plan) -> list[Candidate]:
    """The best trials of the search, the paper's, and the best of random search."""
    if not plan.finalists.count:
        return []
    found = [
        Candidate(f"search {trial.number}", trial.params, trial)
        for trial in complete(attempts(studies.search))
        if trial.user_attrs.get("kind") != PAPER and "twin" not in trial.user_attrs
    ][: plan.finalists.count]
    if paper := paper_trial(studies):
        found.append(Candidate(PAPER, paper.params, paper))
    for trial in complete(attempts(studies.random))[:1]:
        found.append(Candidate(f"random {trial.number}", trial.params, trial))
    return found


def enqueue_finalists(studies: Studies, plan: Plan) -> None:
    """Have every candidate trained with every seed that it was not trained with yet."""
    known = {(trial.user_attrs.get("kind"), trial.user_attrs.get("seed")) for trial in attempts(studies.finalists)}
    for seed in plan.finalists.seeds:  # where time runs out, all have been trained with the same ones
        for candidate in candidates(studies, plan):
            if (candidate.name, seed) not in known:
                enqueue(studies.finalists, candidate.params, candidate.name, seed)


@dataclass(frozen=True)
class Difference:
    """Mean difference of two configurations over ``n`` seeds, and its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """In a word: "better", "worse" or "not told apart"."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not told apart"


def difference(ours: dict[int, float], theirs: dict[int, float]) -> Difference | None:
    """Paired by seed, with Student's t interval of the mean; None for fewer than two common seeds."""
    from scipy.stats import t

    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    found = [ours[seed] - theirs[seed] for seed in seeds]
    mean = sum(found) / len(found)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in found) / (len(found) - 1))
    half = float(t.ppf(0.975, len(found) - 1)) * deviation / math.sqrt(len(found))
    return Difference(mean, mean - half, mean + half, len(found))


def by_seed(studies: Studies, name: str, figure: str) -> dict[int, float]:
    """Seed -> a figure of a finalist."""
    return {
        trial.user_attrs["seed"]: trial.user_attrs["figures"][figure][0]
        for trial in complete(attempts(studies.finalists))
        if trial.user_attrs["kind"] == name and figure in trial.user_attrs.get("figures", {})
    }


def winner(studies: Studies, plan: Plan) -> Candidate | None:
    """The candidate with the highest mean over the seeds on the validation split; without finalists, the best trial.

    Candidates that were trained with fewer seeds than others are left out.
    """
    metric = plan.metrics[0]
    names = {trial.user_attrs["kind"] for trial in complete(attempts(studies.finalists))}
    scores = {name: by_seed(studies, name, metric) for name in sorted(names)}
    most = max((len(values) for values in scores.values()), default=0)
    means = {name: sum(values.values()) / most for name, values in scores.items() if len(values) == most}
    if means:
        return named(studies, max(means, key=lambda name: means[name]))
    done = complete(attempts(studies.search))
    return (
        named(studies, PAPER if done[0].user_attrs.get("kind") == PAPER else f"search {done[0].number}")
        if done
        else None
    )


def named(studies: Studies, name: str) -> Candidate | None:
    """The candidate of a name, whether it is a finalist or not; None where there is no such complete trial."""
    kind, _, number = name.partition(" ")
    if kind == PAPER:
        paper = paper_trial(studies)
        return Candidate(PAPER, paper.params, paper) if paper else None
    study = studies.random if kind == "random" else studies.search
    for trial in complete(attempts(study)):
        if str(trial.number) == number:
            return Candidate(name, trial.params, trial)
    return None
