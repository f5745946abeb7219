"""Whose turn it is, and that time is kept for the finalists."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from sweep_toy import CLIPS, STEPS, in_memory, toy_plan

from avsa.sweep.agenda import Agenda
from avsa.sweep.losses import give_up
from avsa.sweep.studies import PAPER, Studies, attempts, orphans
from avsa.sweep.summary import progress

BUDGET = STEPS * CLIPS


@pytest.fixture
def studies() -> Studies:
    return in_memory()


def agenda_of(studies: Studies, deadline: float | None = None, **changes: Any) -> Agenda:
    plan = toy_plan(random=True, trials=4, finalists={"count": 1, "seeds": [1, 2]}, **changes)
    return Agenda(plan, studies, 1, deadline, now=lambda: 100.0)


def end(study: optuna.Study, spent: int, seconds: float = 10.0, **attrs: Any) -> None:
    """A trial that saw so much; all of the budget completes it."""
    trial = study.ask()
    facts = {"seed": 0, "kind": "search", **trial.user_attrs, **attrs}
    for key, value in {**facts, "spent": spent, "seconds": seconds}.items():
        trial.set_user_attr(key, value)
    if spent == BUDGET:
        study.tell(trial, 50.0 + trial.number)
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def test_both_searches_see_as_much(studies: Studies) -> None:
    """Random search goes on until it has seen as much as the search, however many trials that takes."""
    agenda = agenda_of(studies)
    turns = []
    while (study := agenda.next()) in (studies.search, studies.random):
        assert study is not None
        turns.append("search" if study is studies.search else "random")
        end(study, BUDGET if study is studies.search else BUDGET // 2)
    assert turns == ["search", "random", "random"] * 4
    assert study is studies.finalists


def test_a_line_says_what_is_known_so_far(studies: Studies) -> None:
    agenda = agenda_of(studies)

    def line(study: optuna.Study, number: int) -> str:
        return progress(agenda, study, number).partition(" ")[2].partition(";")[0]

    end(studies.random, BUDGET)
    assert line(studies.random, 0) == "0: 50.00"
    end(studies.search, BUDGET)
    assert line(studies.search, 0) == "0: 50.00 (best 50.00)"
    end(studies.search, BUDGET, kind=PAPER)
    assert line(studies.search, 1) == "1: 51.00 (best 51.00, paper 51.00)"


def test_what_waits_comes_first_and_a_continued_trial_does_not_count(studies: Studies) -> None:
    agenda = agenda_of(studies)
    end(studies.search, BUDGET)
    end(studies.random, BUDGET)
    studies.random.enqueue_trial({})
    assert agenda.next() is studies.random
    studies.random.ask()
    assert give_up(studies.random, 1, "stopped", None)
    assert agenda.next() is studies.random
    studies.random.ask()
    assert [trial.number for trial in attempts(studies.random)] == [0, 2]
    assert agenda.next() is studies.search


def test_what_is_complete_counts_though_another_process_was_about_to_give_it_up(studies: Studies) -> None:
    running = studies.search.ask()
    running.set_user_attr("continued", True)
    studies.search.tell(running, 1.0)
    assert give_up(studies.search, 0, "its process was lost", 2) is None
    assert [trial.number for trial in attempts(studies.search)] == [0]
    assert orphans(studies.search) == []


def test_finalists_wait_for_trials_that_run_elsewhere(studies: Studies) -> None:
    agenda = agenda_of(studies)
    for _ in range(3):
        end(studies.search, BUDGET)
        end(studies.random, BUDGET)
    end(studies.random, BUDGET)
    running = studies.search.ask()
    assert agenda.next() is None
    assert not agenda.over()
    running.set_user_attr("spent", BUDGET)
    studies.search.tell(running, 1.0)
    assert agenda.next() is studies.finalists
    queued = [trial.user_attrs["kind"] for trial in studies.finalists.trials]
    assert queued == ["search 2", "random 3"] * 2  # no paper's: it is missing here
    assert not agenda.complete()
    while agenda.next() is studies.finalists:
        end(studies.finalists, BUDGET)
    assert agenda.over()
    assert agenda.complete()


@pytest.mark.parametrize(("left", "turn"), [(86.0, "search"), (84.0, "finalists"), (13.0, "finalists"), (12.0, None)])
def test_time_is_kept_for_the_finalists(studies: Studies, left: float, turn: str | None) -> None:
    """A trial takes 10 s, finalists 6 × 12.5 s: with 85 s or more another trial fits, with 12.5 s a finalist."""
    end(studies.search, BUDGET, kind=PAPER)
    end(studies.search, BUDGET)
    end(studies.random, BUDGET)
    end(studies.random, BUDGET)
    agenda = agenda_of(studies, deadline=100.0 + left)
    found = agenda.next()
    assert found is (None if turn is None else getattr(studies, turn))
    assert agenda.over() == (turn is None)


def test_the_time_left_is_estimated(studies: Studies) -> None:
    """Of 4 trials 2 are left, and as many of random search: 4 × 10 s; then 6 finalists of 12.5 s, or as the first."""
    agenda = agenda_of(studies)
    assert agenda.left_s() is None
    end(studies.search, BUDGET, kind=PAPER)
    end(studies.random, BUDGET)
    end(studies.search, BUDGET)
    end(studies.random, BUDGET)
    assert agenda.left_s() == pytest.approx(115.0)
    assert agenda_of(studies, deadline=130.0).left_s() == pytest.approx(30.0)
    end(studies.finalists, BUDGET, seconds=20.0)
    each = (4 * 10 + 20) / 5  # what a whole budget takes by all that ended
    assert agenda.left_s() == pytest.approx(4 * 10 + 5 * 20)
    assert agenda_of(studies, deadline=100 + each + 100).next() is studies.search
    assert agenda_of(studies, deadline=100 + each + 99).next() is studies.finalists
