"""What a search came to, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

from avsa.sweep.finalists import Candidate, by_seed, candidates, complete, difference, paper_trial, winner
from avsa.sweep.plan import Plan
from avsa.sweep.space import Space
from avsa.sweep.studies import PAPER, Studies, attempts, continuations, spent_by
from avsa.sweep.trial import TEST

if TYPE_CHECKING:
    from optuna import Study

    from avsa.sweep.agenda import Agenda

Row = list[str]


def progress(agenda: Agenda, study: Study, number: int) -> str:
    """A line about a trial that has just ended, and how far the search is."""
    plan, studies = agenda.plan, agenda.studies
    trial = study.get_trials(deepcopy=False)[number]
    values = ", ".join(f"{value:.2f}" for value in trial.values or [])
    ended = f"pruned at {values}" if trial.state.name == "PRUNED" else values
    best, paper = complete(attempts(studies.search)), paper_trial(studies)
    known = f", paper {paper.values[0]:.2f}" if paper else ""
    known = f" (best {best[0].values[0]:.2f}{known})" if best else ""
    counts = f"{len(attempts(studies.search))} of {plan.trials} trials"
    if plan.random:
        counts += f", {len(attempts(studies.random))} of random search"
    if finalists := attempts(studies.finalists):
        counts += f", {sum(t.state.is_finished() for t in finalists)} of {len(finalists)} trainings of finalists"
    left_s = agenda.left_s()
    left = f"; about {tqdm.format_interval(left_s)} left" if left_s is not None else ""
    return f"{study.study_name} {number}: {ended}{known}; {counts}{left}"


def counts(study: Study) -> dict[str, int]:
    """How the trials of a study ended; "continued" are those that go on under another number."""
    trials = study.get_trials(deepcopy=False)
    followed = continuations(trials)
    found: dict[str, int] = {}
    for trial in trials:
        state = "continued" if trial.number in followed else trial.state.name.lower().replace("fail", "failed")
        state = "queued twice" if "same" in trial.user_attrs else state
        found[state] = found.get(state, 0) + 1
    return found


def verdicts(studies: Studies, plan: Plan) -> list[str]:
    """Whether the search beats the paper's configuration and random search, and by how much; a sentence each."""
    if len(plan.metrics) > 1:
        return _front(studies, plan)
    ours = _best_of_search(studies, plan)
    if ours is None:
        return ["No finalist of the search was trained with two seeds yet: nothing can be said."]
    said = []
    for name, title in _rivals(studies, plan):
        for figure, where in ((plan.metrics[0], "validation"), (TEST + plan.metrics[0], "test")):
            found = difference(by_seed(studies, ours.name, figure), by_seed(studies, name, figure))
            if found:
                said.append(
                    f"{where.capitalize()} split: {ours.name} is {found.verdict}{_than(found.verdict)} {title}: "
                    f"{found.mean:+.2f} points [{found.low:+.2f}, {found.high:+.2f}] of {plan.metrics[0]}, "
                    f"{found.n} seeds."
                )
    chosen = winner(studies, plan)
    if chosen:
        said.append(f"The highest mean on the validation split is that of {chosen.name}.")
    return said


def _than(verdict: str) -> str:
    return " from" if verdict == "not told apart" else " than"


def _rivals(studies: Studies, plan: Plan) -> Iterator[tuple[str, str]]:
    for candidate in candidates(studies, plan):
        if candidate.name == PAPER:
            yield PAPER, "the paper's configuration"
        elif candidate.name.startswith("random"):
            yield candidate.name, f"the best of random search ({candidate.name})"


def _best_of_search(studies: Studies, plan: Plan) -> Candidate | None:
    """The finalist of the search with the highest mean on the validation split."""
    scores = {
        candidate.name: (sum(found.values()) / len(found), candidate)
        for candidate in candidates(studies, plan)
        if candidate.name.startswith("search") and len(found := by_seed(studies, candidate.name, plan.metrics[0])) > 1
    }
    return max(scores.values(), key=lambda pair: pair[0])[1] if scores else None


def _front(studies: Studies, plan: Plan) -> list[str]:
    paper, front = paper_trial(studies), {trial.number for trial in studies.search.best_trials}
    said = [f"The Pareto front of {', '.join(plan.metrics)} is trials {', '.join(map(str, sorted(front)))}."]
    if paper:
        better = [
            trial.number
            for trial in complete(attempts(studies.search))
            if trial.number != paper.number and all(a >= b for a, b in zip(trial.values, paper.values, strict=True))
        ]
        above = (
            f"trials {', '.join(map(str, better))} are at least as good in all"
            if better
            else "no trial beats it in all"
        )
        said.append(f"The paper's configuration is {'on it' if paper.number in front else 'not on it'}; {above}.")
    beaten = [
        trial.number
        for trial in complete(attempts(studies.random))
        if not any(
            all(a >= b for a, b in zip(other.values, trial.values, strict=True)) for other in studies.search.best_trials
        )
    ]
    if plan.random:
        said.append(
            f"Of random search, {len(beaten)} trials are not dominated by that front. One seed each: no intervals."
        )
    return said


def finalists_table(studies: Studies, plan: Plan) -> list[Row]:
    """A row per finalist: its figures with each seed, and their means."""
    rows = [["finalist", f"{plan.metrics[0]}, %", *(f"seed {seed}" for seed in plan.finalists.seeds), "mean"]]
    for candidate in candidates(studies, plan):
        for figure, split in ((plan.metrics[0], "validation"), (TEST + plan.metrics[0], "test")):
            found = by_seed(studies, candidate.name, figure)
            if found:
                cells = [f"{found[seed]:.2f}" if seed in found else "" for seed in plan.finalists.seeds]
                rows.append([candidate.name, split, *cells, f"{sum(found.values()) / len(found):.2f}"])
    return rows if len(rows) > 1 else []


def best_table(studies: Studies, plan: Plan, count: int = 10) -> list[Row]:
    """The best trials of the search and of random search with their intervals over clips, and the paper's.

    With several metrics, those of their Pareto fronts.
    """
    rows = [["trial", *(f"{metric}, %" for metric in plan.metrics), "time, s", seen(plan)]]
    paper = paper_trial(studies)
    search, random = (
        complete(attempts(study) if len(plan.metrics) == 1 else study.best_trials)
        for study in (studies.search, studies.random)
    )
    chosen = [("search", trial) for trial in search[:count]] + [("random", trial) for trial in random[: count // 2]]
    if paper and all((kind, trial.number) != ("search", paper.number) for kind, trial in chosen):
        chosen.append(("search", paper))
    for kind, trial in chosen:
        name = PAPER if trial.user_attrs.get("kind") == PAPER else f"{kind} {trial.number}"
        figures = trial.user_attrs.get("figures", {})
        cells = [
            _interval(figures.get(metric), value) for metric, value in zip(plan.metrics, trial.values, strict=True)
        ]
        rows.append(
            [name, *cells, f"{trial.user_attrs.get('seconds', 0):.0f}", f"{trial.user_attrs.get('spent', 0):,}"]
        )
    return rows


def values_table(studies: Studies, plan: Plan) -> list[Row]:
    """A row per range: its value in the paper's configuration and in the finalists, else in the search's best trials.

    A value that a condition excludes is "–".
    """
    paper = paper_trial(studies)
    found = [(one.name, one.params) for one in candidates(studies, plan) if one.name != PAPER]
    if not found:
        best = complete(attempts(studies.search) if len(plan.metrics) == 1 else studies.search.best_trials)
        found = [(f"search {t.number}", t.params) for t in best[:5] if t.user_attrs.get("kind") != PAPER]
    if not found:
        return []
    columns = [(PAPER, paper.params), *found] if paper else found
    ranges = Space(plan.space, plan.study).ranges
    cells = [[path, *(_value(params.get(path, "–")) for _, params in columns)] for path in ranges]
    return [["range", *(name for name, _ in columns)], *cells]


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def seen(plan: Plan) -> str:
    """What a budget counts, as a heading."""
    return "clips seen" if plan.budget.clips else "crops seen"


def _interval(figure: list[float | None] | None, value: float) -> str:
    if not figure or figure[1] is None:
        return f"{value:.2f}"
    return f"{value:.2f} [{figure[1]:.2f}, {figure[2]:.2f}]"


def effort_table(studies: Studies, plan: Plan) -> list[Row]:
    """A row per study: how its trials ended, what they saw and how long they took."""
    rows = [["study", "trials", seen(plan), "hours of trials"]]
    for study in studies:
        found = attempts(study)
        ended = ", ".join(f"{number} {state}" for state, number in sorted(counts(study).items()))
        hours = sum(trial.user_attrs.get("seconds", 0.0) for trial in found) / 3600
        rows.append([study.study_name, ended or "none", f"{spent_by(study):,}", f"{hours:.2f}"])
    return rows
