"""Comparisons over seeds, and who wins."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from scipy.stats import ttest_rel
from sweep_toy import DEPTH, SPACE, TEMPERATURE, in_memory, toy_plan

from avsa.sweep.finalists import by_seed, candidates, difference, enqueue_finalists, winner
from avsa.sweep.plan import Plan
from avsa.sweep.studies import PAPER, Studies
from avsa.sweep.summary import best_table, effort_table, finalists_table, values_table, verdicts

METRIC = "within-clip"


def test_a_difference_is_the_paired_t_interval() -> None:
    ours, theirs = {1: 71.0, 2: 69.5, 3: 74.0, 9: 0.0}, {3: 70.5, 1: 70.0, 2: 66.0, 8: 99.0}
    found = difference(ours, theirs)
    wanted = ttest_rel([71.0, 69.5, 74.0], [70.0, 66.0, 70.5]).confidence_interval(0.95)
    assert found is not None
    assert found.n == 3
    assert [found.mean, found.low, found.high] == pytest.approx([8 / 3, wanted.low, wanted.high])
    assert found.verdict == "not told apart"


def test_verdicts_need_an_interval_off_zero() -> None:
    better = difference({1: 10.0, 2: 11.0, 3: 12.0}, {1: 1.0, 2: 2.0, 3: 2.9})
    worse = difference({1: 1.0, 2: 2.0, 3: 2.9}, {1: 10.0, 2: 11.0, 3: 12.0})
    assert better is not None
    assert worse is not None
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert difference({1: 1.0}, {1: 2.0}) is None


def trial(value: float | None, temperature: float, **attrs: Any) -> optuna.trial.FrozenTrial:
    """A trial that is complete, or pruned where it has no value."""
    state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
    return optuna.create_trial(
        params={TEMPERATURE: temperature, DEPTH: 2},
        distributions={
            TEMPERATURE: optuna.distributions.FloatDistribution(0.01, 1.0, log=True),
            DEPTH: optuna.distributions.IntDistribution(1, 4),
        },
        user_attrs={"kind": "search", "seed": 0, **attrs},
        state=state,
        value=value,
    )


@pytest.fixture
def studies() -> Studies:
    """A search whose trials 1 and 3 beat the paper's, 3 more than 1, and a random search."""
    found = in_memory()
    found.search.add_trials(
        [
            trial(60, 0.07, kind=PAPER),
            trial(65, 0.1),
            trial(None, 0.5),
            trial(70, 0.2),
            trial(50, 0.3),
            trial(70, 0.2, twin=3),
        ]
    )
    found.random.add_trials([trial(40, 0.9, kind="random"), trial(66, 0.11, kind="random")])
    return found


PLAN: Plan = toy_plan(random=True, finalists={"count": 2, "seeds": [1, 2]}, space=SPACE)


def final(name: str, seed: int, value: float, test: float) -> optuna.trial.FrozenTrial:
    figures = {METRIC: [value, value - 1, value + 1], f"test: {METRIC}": [test, test - 1, test + 1]}
    return trial(value, 0.1, kind=name, seed=seed, figures=figures)


def test_finalists_are_the_best_of_each_and_are_trained_once_with_every_seed(studies: Studies) -> None:
    names = [candidate.name for candidate in candidates(studies, PLAN)]
    assert names == ["search 3", "search 1", "paper", "random 1"]
    studies.finalists.add_trial(final("search 3", 2, 70.0, 69.0))
    enqueue_finalists(studies, PLAN)
    enqueue_finalists(studies, PLAN)
    queued = [(t.user_attrs["kind"], t.user_attrs["seed"]) for t in studies.finalists.trials]
    assert sorted(queued) == sorted((name, seed) for name in names for seed in (1, 2))
    params = studies.finalists.trials[1].system_attrs["fixed_params"]
    assert params == {TEMPERATURE: 0.2, DEPTH: 2}
    assert [seed for _, seed in queued[1:]] == [1] * 4 + [2] * 3  # all with one seed before any with the next


def test_the_winner_is_the_best_on_unseen_seeds_of_the_validation_split(studies: Studies) -> None:
    """The best of the search falls back on other seeds; a test figure, however good, does not count."""
    assert (found := winner(studies, PLAN)) is not None
    assert found.name == "search 3"
    for name, first, second, test in (("search 3", 61, 62, 99), ("search 1", 64, 66, 50), ("paper", 60, 62, 60)):
        studies.finalists.add_trials([final(name, 1, first, test), final(name, 2, second, test + 1)])
    studies.finalists.add_trial(final("random 1", 1, 90, 90))  # one seed only: not comparable yet
    assert (found := winner(studies, PLAN)) is not None
    assert found.name == "search 1"
    assert found.params[TEMPERATURE] == 0.1
    assert by_seed(studies, "search 1", METRIC) == {1: 64, 2: 66}


def test_the_report_says_what_is_and_what_is_not_told_apart(studies: Studies) -> None:
    for name, first, second in (("search 1", 64.0, 66.0), ("paper", 60.0, 62.1), ("random 1", 64.0, 65.0)):
        studies.finalists.add_trials([final(name, 1, first, first + 1), final(name, 2, second, second + 1)])
    said = verdicts(studies, PLAN)
    assert said[0] == (
        "Validation split: search 1 is better than the paper's configuration: +3.95 points [+3.31, +4.59] of "
        "within-clip, 2 seeds."
    )
    assert said[1].startswith("Test split: search 1 is better than the paper's configuration: +3.95 points")
    assert said[2].startswith(
        "Validation split: search 1 is not told apart from the best of random search (random 1): +0.50 points "
        "[-5.85, +6.85]"
    )
    assert said[-1] == "The highest mean on the validation split is that of search 1."
    rows = finalists_table(studies, PLAN)
    assert rows[1] == ["search 1", "validation", "64.00", "66.00", "65.00"]
    assert rows[2] == ["search 1", "test", "65.00", "67.00", "66.00"]


def test_what_was_found_is_beside_the_papers_values(studies: Studies) -> None:
    rows = values_table(studies, PLAN)
    assert rows == [
        ["range", "paper", "search 3", "search 1", "random 1"],
        [TEMPERATURE, "0.07", "0.2", "0.1", "0.11"],
        [DEPTH, "2", "2", "2", "2"],
    ]
    alone = values_table(studies, toy_plan(finalists={"count": 0}))
    assert alone[0] == ["range", "paper", "search 3", "search 5", "search 1", "search 4"]
    assert alone[1] == [TEMPERATURE, "0.07", "0.2", "0.2", "0.1", "0.3"]
    assert values_table(in_memory(), PLAN) == []


def test_a_trial_that_was_not_trained_again_saw_nothing() -> None:
    found = in_memory()
    found.search.add_trials([trial(60, 0.07, kind=PAPER, spent=40), trial(60, 0.07, twin=0, spent=40)])
    assert effort_table(found, PLAN)[1][1:3] == ["2 complete", "40"]


def test_with_several_metrics_the_best_are_the_pareto_front() -> None:
    """By hand: 1 beats 0 and 4 in both; 2 and 3 are each the best of one; of random search 0 is beaten by 1."""
    plan = toy_plan(metrics=[METRIC, "segmentation/video/miou"], random=True)
    search, random, finalists = (optuna.create_study(directions=["maximize"] * 2) for _ in range(3))
    found = Studies(search, random, finalists)
    pairs = [(60.0, 20.0), (65.0, 25.0), (70.0, 10.0), (50.0, 40.0), (64.0, 25.0)]
    for number, values in enumerate(pairs):
        found.search.add_trial(optuna.create_trial(values=values, user_attrs={"kind": "search" if number else PAPER}))
    found.random.add_trials([optuna.create_trial(values=values) for values in ((1.0, 1.0), (2.0, 2.0))])
    rows = best_table(found, plan)
    assert [row[0] for row in rows] == ["trial", "search 2", "search 1", "search 3", "random 1", "paper"]
    assert rows[1][1:3] == ["70.00", "10.00"]
