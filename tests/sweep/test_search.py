"""One process that serves a study: whatever becomes of trials, each is accounted for, and none is trained twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from postgresql_server import postgresql  # noqa: F401, a fixture
from sweep_toy import CLIPS, DEPTH, STEPS, TEMPERATURE, toy_plan, toy_search, value

from avsa.config import Engine
from avsa.errors import UserError
from avsa.sweep import losses
from avsa.sweep.losses import give_up, go_on, is_gone, lost, this_process
from avsa.sweep.places import places, visible_gpus
from avsa.sweep.plots import WITHIN
from avsa.sweep.report import PAGE, TRIALS, write_report
from avsa.sweep.space import Space
from avsa.sweep.storage import open_storage
from avsa.sweep.studies import attempts, enqueue, open_studies, orphans
from avsa.sweep.summary import counts


def steps_of(folder: Path) -> Counter[str]:
    """How often each step of each trial was begun."""
    return Counter((folder / "log").read_text().splitlines())


def test_a_whole_search_with_lost_failing_and_pruned_trials(tmp_path: Path) -> None:
    """Two places; of the search, a trial is killed in its third step, one runs out of memory, one fails."""
    orders = {"toy 1 2": "kill", "toy 3 1": "memory", "toy 4 1": "error"}
    (tmp_path / "orders").write_text(json.dumps(orders))
    said: list[str] = []
    abandoned: list[tuple[str, bool]] = []
    plan = toy_plan(random=True, trials=7, pruning={"first": 0.5, "factor": 2}, finalists={"count": 1, "seeds": [1, 2]})
    url = f"sqlite:///{tmp_path}/study.db"
    search, studies = toy_search(
        tmp_path, plan, url, 2, say=said.append, abandoned=lambda run, goes_on: abandoned.append((run, goes_on))
    )
    assert search.run() == 0
    assert search.agenda.complete()

    trials = studies.search.trials
    first = trials[0]
    assert (first.user_attrs["kind"], first.params) == ("paper", {TEMPERATURE: 0.07, DEPTH: 2})
    assert first.values == [value(0.07, 2)]
    assert first.intermediate_values == {(n + 1) * CLIPS: value(0.07, 2) * (n + 1) / STEPS for n in range(STEPS)}
    assert len(attempts(studies.search)) == 7
    assert not any(
        trial.state in (TrialState.RUNNING, TrialState.WAITING) for study in studies for trial in study.trials
    )

    killed = trials[1]
    assert (killed.state, killed.user_attrs["continued"]) == (TrialState.FAIL, True)
    assert killed.user_attrs["reason"].startswith("its process ended by SIGKILL")
    again = next(trial for trial in trials if trial.user_attrs.get("origin") == 1)
    assert again.params == killed.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert abandoned == [("run-1", True)]
    reasons = {
        trial.number: trial.user_attrs["reason"] for trial in attempts(studies.search) if trial.state.name == "FAIL"
    }
    ordered = {3: "out of memory: 8 GB", 4: "RuntimeError: no such thing"}
    ordered.pop(again.number, None)  # it may have the number of either, and is past that step
    assert reasons == ordered
    assert 4 not in ordered or "no such thing" in (tmp_path / "search" / "4" / "log.txt").read_text()
    repeated = {step: times for step, times in steps_of(tmp_path).items() if times > 1}
    assert repeated == {"search/1 2": 2}

    pruned = [
        trial for study in (studies.search, studies.random) for trial in study.trials if trial.state.name == "PRUNED"
    ]
    assert pruned
    assert all(trial.user_attrs["spent"] < STEPS * CLIPS for trial in pruned)
    seen = [
        sum(trial.user_attrs.get("spent", 0) for trial in attempts(study)) for study in (studies.search, studies.random)
    ]
    assert seen[0] <= seen[1] < seen[0] + 4 * STEPS * CLIPS  # two failed, and two more may have been running
    finalists = {(trial.user_attrs["kind"], trial.user_attrs["seed"]) for trial in studies.finalists.trials}
    assert len(finalists) == len(studies.finalists.trials) == 6
    for trial in studies.finalists.trials:
        assert trial.values == [value(trial.params[TEMPERATURE], trial.params[DEPTH], trial.user_attrs["seed"])]
    assert sum(" left" in line for line in said) >= 10

    hashes = write_report(studies, plan, url, tmp_path / "report")
    assert set(hashes) == {"trials", "database"}
    page = (tmp_path / "report" / PAGE).read_text()
    assert "is better than the paper&#x27;s configuration" in page
    assert page.count("Plotly.newPlot") == page.count("<div class=plot>") == 5
    assert f'"text":"{WITHIN}"' in page
    assert '"text":"clips seen"' in page
    drawn = {path.stem for path in (tmp_path / "report").glob("*.png")}
    assert drawn == {"history", "validation", "importances", "parallel", "slices"}
    lines = (tmp_path / "report" / TRIALS).read_text().splitlines()
    assert len(lines) == sum(len(study.trials) for study in studies)
    assert counts(studies.search)["continued"] == 1


def test_a_study_that_is_done_is_left_as_it_is_and_more_trials_go_on(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/study.log"
    first, _ = toy_search(tmp_path, toy_plan(trials=2), url)
    assert first.run() == 0
    before = steps_of(tmp_path)
    again, _ = toy_search(tmp_path, toy_plan(trials=2), url)
    assert again.run() == 0
    assert steps_of(tmp_path) == before
    more, studies = toy_search(tmp_path, toy_plan(trials=3), url)
    assert more.run() == 0
    assert [trial.state.name for trial in studies.search.trials] == ["COMPLETE"] * 3
    assert steps_of(tmp_path) - before == Counter(f"search/2 {step}" for step in range(STEPS))


def test_no_trial_begins_while_the_store_is_away(tmp_path: Path) -> None:
    answers = iter([True, False, False])
    said: list[str] = []
    search, studies = toy_search(
        tmp_path,
        toy_plan(trials=3),
        f"sqlite:///{tmp_path}/study.db",
        say=said.append,
        ready=lambda: next(answers, True),
    )
    assert search.run() == 0
    assert [trial.state.name for trial in studies.search.trials] == ["COMPLETE"] * 3
    away, back = "the tracking store is away: no trial begins until it is back", "the tracking store is back"
    assert [line for line in said if "store" in line] == [away, back]
    assert said.index(back) < next(number for number, line in enumerate(said) if line.startswith("toy 1"))


def test_a_trial_that_is_lost_again_and_again_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text(json.dumps({f"toy {number} 1": "kill" for number in range(1, 9)}))
    abandoned: list[bool] = []
    search, studies = toy_search(
        tmp_path,
        toy_plan(trials=2, retries=1),
        f"sqlite:///{tmp_path}/study.db",
        abandoned=lambda run, goes_on: abandoned.append(goes_on),
    )
    assert search.run() == 0
    assert [trial.state.name for trial in studies.search.trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert [trial.user_attrs.get("continued") for trial in studies.search.trials[1:]] == [True, False]
    assert abandoned == [True, False]
    assert len(attempts(studies.search)) == 2


def test_what_fails_with_the_papers_configuration_stops_the_study(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text(json.dumps({"toy 0 0": "error"}))
    search, studies = toy_search(tmp_path, toy_plan(), f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(
        UserError, match=r"^the first trial, of the paper's configuration, fails: RuntimeError: no such"
    ):
        search.run()
    (tmp_path / "orders").write_text("{}")
    again, studies = toy_search(tmp_path, toy_plan(trials=1), f"sqlite:///{tmp_path}/study.db")
    assert again.run() == 0
    assert [trial.state.name for trial in studies.search.trials] == ["FAIL", "COMPLETE"]
    assert [(trial.user_attrs["kind"], trial.values) for trial in attempts(studies.search)] == [
        ("paper", [value(0.07, 2)])
    ]


def test_the_papers_configuration_that_is_lost_too_often_stops_the_study_and_is_kept(tmp_path: Path) -> None:
    """Else a search would end that nothing is compared with."""
    (tmp_path / "orders").write_text(json.dumps({f"toy {number} 1": "kill" for number in range(9)}))
    url, plan = f"sqlite:///{tmp_path}/study.db", toy_plan(trials=1, retries=1)
    search, studies = toy_search(tmp_path, plan, url)
    line = r"^the first trial, of the paper's configuration, fails: its process ended by SIGKILL.*tries it again$"
    with pytest.raises(UserError, match=line):
        search.run()
    assert [trial.state.name for trial in studies.search.trials] == ["FAIL", "FAIL", "WAITING"]
    with pytest.raises(UserError, match=line):
        toy_search(tmp_path, plan, url)[0].run()
    (tmp_path / "orders").write_text("{}")
    assert toy_search(tmp_path, plan, url)[0].run() == 0
    assert [trial.state.name for trial in attempts(studies.search)] == ["COMPLETE"]


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_a_trial_goes_on_once_whoever_is_killed_while_it_is_given_up(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that gives it up ends before it has queued it; then two others queue it at once."""
    urls = {"sqlite": f"sqlite:///{tmp_path}/study.db", "journal": f"journal:{tmp_path}/study.log"}
    url = urls.get(kind) or request.getfixturevalue("postgresql")
    search, studies = toy_search(tmp_path, toy_plan(study=f"orphan-{kind}", trials=2), url)
    study = studies.search
    search.space.suggest(study.ask())
    monkeypatch.setattr(optuna.Study, "add_trial", _killed)
    with pytest.raises(KeyboardInterrupt):
        give_up(study, 0, "its process was lost", 2)
    monkeypatch.undo()
    assert [trial.number for trial in orphans(study)] == [0]
    assert not search.agenda.over()
    assert not search.agenda.complete()
    seen = orphans(study)
    go_on(study)
    go_on(study)
    monkeypatch.setattr(losses, "orphans", lambda study: seen)
    go_on(study)
    monkeypatch.undo()
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING", "WAITING"]
    assert [trial.user_attrs["continues"] for trial in study.trials[1:]] == [0, 0]
    assert search.run() == 0
    assert search.agenda.complete()
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].user_attrs["reason"] == "queued twice: it is trial 1"
    assert counts(study) == {"continued": 1, "complete": 2, "queued twice": 1}
    assert [trial.number for trial in attempts(study)] == [1, 3]
    assert set(steps_of(tmp_path).values()) == {1}
    assert study.trials[1].user_attrs["losses"] == 1


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_trial_that_was_queued_twice_does_not_go_on_when_it_is_lost(tmp_path: Path) -> None:
    """Its process may be killed when it has taken it, and before it has seen that there is another."""
    search, studies = toy_search(tmp_path, toy_plan(trials=1), f"sqlite:///{tmp_path}/study.db")
    study = studies.search
    search.space.suggest(study.ask())
    assert give_up(study, 0, "lost", 2)
    study.add_trial(study.trials[1])
    study.ask(), study.ask()
    assert give_up(study, 2, "lost", 2) is False
    assert give_up(study, 1, "lost", 2)
    assert [trial.user_attrs.get("continues") for trial in study.trials] == [None, 0, 0, 1]
    assert [trial.number for trial in attempts(study)] == [3]
    assert search.run() == 0
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]


def test_a_finalist_that_was_queued_twice_is_trained_once(tmp_path: Path) -> None:
    plan = toy_plan(trials=2, finalists={"count": 1, "seeds": [1]})
    search, studies = toy_search(tmp_path, plan, f"sqlite:///{tmp_path}/study.db")
    enqueue(studies.finalists, {TEMPERATURE: 0.07, DEPTH: 2}, "paper", 1)  # by another process, before the end
    enqueue(studies.finalists, {TEMPERATURE: 0.07, DEPTH: 2}, "paper", 1)
    assert search.run() == 0
    assert counts(studies.finalists) == {"complete": 2, "queued twice": 1}
    assert sorted(t.user_attrs["kind"] for t in attempts(studies.finalists)) == ["paper", "search 1"]
    assert set(steps_of(tmp_path).values()) == {1}


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_of_several_that_give_up_a_trial_one_does(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    urls = {"sqlite": f"sqlite:///{tmp_path}/study.db", "journal": f"journal:{tmp_path}/study.log"}
    url = urls.get(kind) or request.getfixturevalue("postgresql")
    plan = toy_plan(study=f"one-{kind}")
    space = Space(plan.space, "toy")
    one, other = (open_studies(plan, space.paper, open_storage(url), {}, {}, url).search for _ in range(2))
    trial = one.ask()
    params = space.suggest(trial)
    trial.report(1.5, 10)
    assert [t.number for t in other.trials if t.state == TrialState.RUNNING] == [0]
    assert lost(other, "me") == []
    trial.set_user_attr("process", this_process())
    assert lost(other, "me") == []
    assert [t.number for t in lost(other, "me", grace_s=-1.0)] == [0]
    assert lost(other, this_process(), grace_s=-1.0) == []
    assert give_up(other, 0, "its process was lost", 2)
    assert give_up(one, 0, "its process was lost", 2) is None
    found = one.get_trials(deepcopy=False)
    assert [t.state for t in found] == [TrialState.FAIL, TrialState.WAITING]
    again = other.ask()
    assert (again.number, space.suggest(again)) == (1, params)
    assert again.user_attrs["origin"] == 0
    assert other.trials[1].intermediate_values == {10: 1.5}


def test_a_process_is_known_by_its_start_too() -> None:
    me = this_process()
    assert not is_gone(me)
    place, number, began = me.split(" ")
    assert is_gone(f"{place} {number} {float(began) - 100:.2f}")
    assert is_gone(f"{place} 4194999 {began}")
    assert not is_gone(f"elsewhere {number} 1.00")


def test_places_share_the_cores_and_have_gpus_of_their_own() -> None:
    three = places(3, list(range(8)), [])
    assert [sorted(place.cores) for place in three] == [[0, 1], [2, 3], [4, 5]]
    assert [sorted(place.cores) for place in places(3, [4, 7], [])] == [[4], [7], [4]]
    assert [place.gpu for place in places(2, [0, 1], ["3", "5", "6"])] == ["3", "5"]
    with pytest.raises(UserError, match="--workers 2: every worker takes a GPU of its own, and 1 are visible"):
        places(2, [0, 1], ["0"])


@pytest.mark.parametrize(
    ("variable", "count", "gpus"),
    [("", 2, ["0", "1"]), ("3, 5", 2, ["3", "5"]), ("-1", 0, []), ("0,-1,1", 1, ["0"]), ("GPU-1a", 1, ["GPU-1a"])],
)
def test_gpus_are_those_that_cuda_shows(
    variable: str, count: int, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus(Engine()) == gpus
    assert visible_gpus(Engine(device="cpu")) == []
