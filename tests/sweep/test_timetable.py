"""Shares of a budget become epochs and steps that fill it; the configuration accepts what a space can say."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from avsa.config import Config, Phase
from avsa.errors import UserError
from avsa.resolve import Resolved, resolve
from avsa.sweep.plan import Budget, make_plan, read_plan
from avsa.sweep.space import Space
from avsa.sweep.timetable import check, configure, spent, timetable

ROOT = Path(__file__).parents[2]
AVC = Phase(objective="avc", epochs=1, batch=100, crops=1)
HARD = Phase(objective="hard-only", epochs=1, batch=10)
AVSA = Phase(objective="avsa", epochs=1, batch=20)
BASE = Resolved(Config(), {})


def plan_of(runs: dict[str, Any], **more: Any) -> Any:
    space = {"pretrain": {"runs": runs}, "model": {"translator": {"depth": {"int": [1, 4], "paper": 2}}}, **more}
    return make_plan({"study": "s", "budget": {"clips": 6000}, "metrics": ["within-clip"], "space": space}, "file")


def test_shares_are_of_what_is_left() -> None:
    """Of 6,000 clips half; of the other 3,000 a third; the rest: each phase in epochs of a ninth of the whole."""
    avc, avsa = timetable([([AVC], [0.5]), ([HARD, AVSA], [1 / 3, 1.0])], Budget(clips=6000), 9)
    assert [(phase.objective, phase.epochs, phase.steps) for phase in avc + avsa] == [
        ("avc", 5, 6),  # 30 steps of 100; of 3 to 5 epochs, 5 leave nothing over
        ("hard-only", 2, 50),  # 100 steps of 10
        ("avsa", 4, 25),  # 100 steps of 20; 4 leave nothing over
    ]
    phases = avc + avsa
    assert spent(phases, 0, Budget(clips=6000)) == 0
    assert spent(phases, 30, Budget(clips=6000)) == 3000
    assert spent(phases, 131, Budget(clips=6000)) == 4020
    assert spent(phases, 10**6, Budget(clips=6000)) == 6000


def test_crops_and_moments_count() -> None:
    several = Phase(objective="avts", epochs=1, batch=5, crops=3, moments=2)
    ((one,),) = timetable([([several], [1.0])], Budget(crops=600), 1)
    assert (one.epochs, one.steps) == (1, 20)
    assert spent([one], 7, Budget(crops=600)) == 210
    assert spent([one], 7, Budget(clips=600)) == 70


def test_a_phase_of_less_than_a_step_is_left_out_but_not_the_last_of_its_run() -> None:
    avc, avsa = timetable([([AVC], [0.0]), ([HARD, AVSA], [0.001, 1.0])], Budget(clips=1000), 5)
    assert [(phase.objective, phase.epochs, phase.steps) for phase in avc + avsa] == [("avc", 1, 1), ("avsa", 5, 9)]


def test_any_shares_fill_the_budget() -> None:
    draw = random.Random(0)
    for _ in range(300):
        budget, validations = Budget(clips=draw.randint(2000, 20000)), draw.randint(1, 12)
        shares = [draw.random(), draw.random(), 1.0]
        runs = timetable([([AVC], shares[:1]), ([HARD, AVSA], shares[1:])], budget, validations)
        phases = list(itertools.chain(*runs))
        seen = spent(phases, 10**9, budget)
        last = phases[-1]
        lost = budget.total - seen
        assert -100 <= lost < last.batch * (last.epochs + 1)  # less than a step per epoch of the last phase
        assert sum(phase.epochs for phase in phases) <= 1.25 * validations + 3


def test_a_trial_has_the_space_on_top_and_the_budget_inside() -> None:
    plan = plan_of(
        {"avc": [{"objective": "avc", "share": 0.5, "batch": 100, "crops": 1}], "avsa": [{"objective": "avsa"}]}
    )
    config = configure(BASE, plan, Space(plan.space, "file"), {"model.translator.depth": 3}).config
    assert config.model.translator.depth == 3
    assert [phase.objective for phase in config.pretrain.runs["avc"] + config.pretrain.runs["avsa"]] == ["avc", "avsa"]
    assert config.pretrain.runs["avc"][0].steps == 6
    assert config.pretrain.runs["avts"] == Config().pretrain.runs["avts"]
    assert plan.space["pretrain"]["runs"]["avc"][0]["share"] == 0.5  # the file's own content is untouched


@pytest.mark.parametrize(
    ("runs", "line"),
    [
        ({}, "pretrain.runs.avc: the phases of this run are missing: each says its share of the budget"),
        (
            {"avc": [{"objective": "avc"}], "avsa": [{"objective": "avsa"}]},
            "pretrain.runs.avc.0.share: between 0 and 1 of what is left of the budget, got None",
        ),
        (
            {
                "avc": [{"objective": "avc", "share": {"float": [0.5, 1.5], "paper": 0.5}}],
                "avsa": [{"objective": "avsa"}],
            },
            "pretrain.runs.avc.0.share: between 0 and 1 of what is left of the budget, got 1.5",
        ),
        (
            {"avc": [{"objective": "avc", "share": 0.5}], "avsa": [{"objective": "avsa", "share": 0.5}]},
            "pretrain.runs.avsa.0.share: the last phase takes what is left of the budget, and says none",
        ),
        (
            {"avc": [{"objective": "avc", "share": 0.5, "epochs": 2}], "avsa": [{"objective": "avsa"}]},
            "pretrain.runs.avc.0: epochs and steps follow from the budget: give a share of it",
        ),
    ],
)
def test_shares_that_are_wrong(runs: dict[str, Any], line: str) -> None:
    plan = plan_of(runs)
    with pytest.raises(UserError) as error:
        check(BASE, plan, Space(plan.space, "file"))
    assert str(error.value) == f"file: space: {line}"


RUNS = {"avc": [{"objective": "avc", "share": 0.5}], "avsa": [{"objective": "avsa"}]}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            {"model": {"translator": {"depht": {"int": [1, 2], "paper": 1}}}},
            "file: model.translator.depht: unknown key; did you mean 'model.translator.depth'?",
        ),
        (
            {"views": {"mirror": {"float": [0.0, 1.5], "paper": 0.5}}},
            "file: views.mirror: input should be less than or equal to 1, got 1.5",
        ),
        (
            {"model": {"translator": {"depth": {"float": [1, 4], "paper": 2}}}},
            "file: model.translator.depth: input should be a valid integer, got a number with a fractional part, "
            "got 2.1103515625",
        ),
        (
            {"audio": {"kind": {"choice": ["mono", "surround"], "paper": "mono"}}},
            "file: audio.kind: input should be 'mono', 'stereo', 'ambisonics' or 'ambisonics+intensity', "
            "got 'surround'",
        ),
    ],
)
def test_the_configuration_is_asked_about_every_end(more: dict[str, Any], line: str) -> None:
    plan = plan_of(RUNS, **more)
    with pytest.raises(UserError) as error:
        check(BASE, plan, Space(plan.space, "file"))
    assert str(error.value) == line


@pytest.mark.parametrize("file", sorted((ROOT / "configs/sweep").glob("*.yaml")), ids=lambda file: file.stem)
def test_ready_spaces_fit_the_demo(file: Path) -> None:
    plan = read_plan(file)
    space = Space(plan.space, str(file))
    base = resolve(base=str(ROOT / "configs/demo.yaml"))
    check(base, plan, space)
    runs = configure(base, plan, space, space.paper).config.pretrain.runs
    phases = [phase for name in plan.runs for phase in runs[name]]
    assert 0.97 * plan.budget.total <= spent(phases, 10**9, plan.budget) <= plan.budget.total
    if plan.study in ("curriculum", "combined", "trade-off"):  # the paper's: AVC, then AVSA for as many clips
        assert [phase.objective for phase in phases] == ["avc", "avsa"]
        assert spent(phases[:1], 10**9, plan.budget) == pytest.approx(plan.budget.total / 2, rel=0.03)
        assert (phases[0].crops, phases[0].batch, phases[1].crops, phases[1].batch) == (1, 112, 4, 28)
        assert (phases[1].hard_weight, phases[1].schedule, phases[1].lr) == (1.0, "constant", 5e-4)
