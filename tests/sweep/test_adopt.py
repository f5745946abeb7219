"""What is adopted, and when it is not: a study whose trials were written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from sweep_toy import toy_plan

from avsa.errors import UserError
from avsa.resolve import resolve
from avsa.sweep.adopt import adopt
from avsa.sweep.plan import Plan
from avsa.sweep.space import Space
from avsa.sweep.studies import Studies, identity, open_studies
from avsa.sweep.timetable import configure

TAU = "pretrain.temperature"
RUNS = {
    "avc": [{"objective": "avc", "share": 0.5, "batch": 8, "crops": 1}],
    "avsa": [{"objective": "avsa", "batch": 4}],
}
SPACE = {"pretrain": {"temperature": {"float": [0.01, 1.0], "paper": 0.07}, "runs": RUNS}}
TWO = ["avsa-bin/4 crops/accuracy", "segmentation/video/miou"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text("model: {width: 0.25}\n")
    (tmp_path / "params.yaml").write_text("base: small.yaml\n")
    return tmp_path


def study_of(plan: Plan, values: Sequence[list[float]], overrides: Sequence[str] = ()) -> Studies:
    """A study begun here whose trials came to these values."""
    base = resolve(None, overrides)
    storage = optuna.storages.InMemoryStorage()
    about = {"base": {"base": base.config.base, "set": list(overrides)}}
    studies = open_studies(plan, Space(plan.space, "toy").paper, storage, identity(plan, base, "data"), about, "memory")
    distributions: dict[str, Any] = {TAU: optuna.distributions.FloatDistribution(0.01, 1.0)}
    for number, found in enumerate(values):
        facts = {"kind": "search", "seed": 0, "threads": 2, "run_id": f"run-{number}"}
        params = {TAU: 0.1 * (number + 1)}
        studies.search.add_trial(
            optuna.create_trial(values=found, params=params, distributions=distributions, user_attrs=facts)
        )
    return studies


def test_the_overlay_gives_the_trials_configuration(here: Path) -> None:
    plan = toy_plan(space=SPACE)
    studies = study_of(plan, [[60.0], [70.0], [65.0]], ["views.mirror=0", "model.width=0.5"])
    path = adopt(studies, plan, None, None)
    assert path == Path("configs/found/toy.yaml")
    text = path.read_text()
    assert "study toy, search 2 (trial 2)" in text
    assert "within-clip 70.0000; MLflow run run-1." in text
    tree = yaml.safe_load(text)
    assert tree["base"] == "small.yaml"
    found = resolve(base=str(path)).config
    wanted = configure(resolve(None, ["views.mirror=0", "model.width=0.5"]), plan, Space(plan.space, "toy"), {TAU: 0.2})
    assert found.pretrain == wanted.config.pretrain
    assert (found.views.mirror, found.model.width, found.engine.threads) == (0.0, 0.5, 2)
    assert found.pretrain.runs["avsa"][0].steps is not None


def test_a_file_that_chooses_otherwise_is_named(here: Path) -> None:
    """It lies above every base: with it, the trial's figures would not come back."""
    (here / "params.yaml").write_text("base: small.yaml\npretrain: {temperature: 0.5}\n")
    plan = toy_plan(space=SPACE)
    studies = study_of(plan, [[60.0]])
    with pytest.raises(
        UserError, match=r"^params.yaml sets pretrain.temperature, which the trial has otherwise: remove"
    ):
        adopt(studies, plan, None, None)
    assert not list((here / "configs/found").iterdir())


def test_a_configuration_that_was_changed_since_is_refused(here: Path) -> None:
    plan = toy_plan(space=SPACE)
    studies = study_of(plan, [[60.0]])
    (here / "small.yaml").write_text("model: {width: 0.125}\n")
    with pytest.raises(UserError, match=r"^params.yaml or the overlays below it were changed since study toy began$"):
        adopt(studies, plan, None, None)


def test_nothing_to_adopt(here: Path) -> None:
    plan = toy_plan(space=SPACE)
    with pytest.raises(UserError, match="has no complete trial yet: there is nothing to adopt"):
        adopt(study_of(plan, []), plan, None, None)
    with pytest.raises(UserError, match="study toy has no complete trial 7"):
        adopt(study_of(plan, [[1.0]]), plan, None, 7)


def test_of_several_metrics_a_trial_is_named(here: Path) -> None:
    plan = toy_plan(space=SPACE, metrics=TWO)
    studies = study_of(plan, [[60.0, 20.0], [50.0, 10.0], [55.0, 30.0]])
    with pytest.raises(UserError, match=r"study toy has 2 metrics: choose by --trial; its Pareto front: 1, 3$"):
        adopt(studies, plan, None, None)
    assert "segmentation/video/miou 30.0000" in adopt(studies, plan, None, 3).read_text()
