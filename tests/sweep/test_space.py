"""The language of search spaces: what it fills in, what depends on what, and what is wrong in a line."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from avsa.errors import UserError
from avsa.sweep.space import Params, Space

TREE: dict[str, Any] = {
    "engine": {"workers": 1},
    "views": {"fov_deg": [{"float": [60, 90], "step": 5, "paper": 80}, 100]},
    "pretrain": {
        "temperature": {"float": [0.03, 0.3], "log": True, "paper": 0.07},
        "runs": {"avsa": [{"objective": "avsa", "crops": {"int": [2, 8], "step": 2, "paper": 4}}]},
    },
    "model": {
        "translator": {
            "heads": {"choice": [1, 2], "paper": 1, "when": {"model.translator.kind": "transformer"}},
            "dropout": {"float": [0, 0.5], "paper": 0.1, "when": {"model.translator.heads": [2]}},
            "kind": {"choice": ["transformer", "mlp"], "paper": "transformer"},
        }
    },
}
FOV, TAU, CROPS = "views.fov_deg.0", "pretrain.temperature", "pretrain.runs.avsa.0.crops"
KIND, HEADS, DROPOUT = (f"model.translator.{name}" for name in ("kind", "heads", "dropout"))


def test_values_take_the_places_of_ranges() -> None:
    space = Space(TREE, "file")
    filled = space.fill({FOV: 75.0, TAU: 0.1, CROPS: 6, KIND: "transformer", HEADS: 2, DROPOUT: 0.3})
    assert filled == {
        "engine": {"workers": 1},
        "views": {"fov_deg": [75.0, 100]},
        "pretrain": {"temperature": 0.1, "runs": {"avsa": [{"objective": "avsa", "crops": 6}]}},
        "model": {"translator": {"heads": 2, "dropout": 0.3, "kind": "transformer"}},
    }
    assert TREE["pretrain"]["temperature"] == {"float": [0.03, 0.3], "log": True, "paper": 0.07}


def test_what_a_condition_excludes_is_left_out() -> None:
    """Of three ranges, each of which depends on the one before, in another order than the file's."""
    space = Space(TREE, "file")
    everything: Params = {FOV: 80.0, TAU: 0.07, CROPS: 4, KIND: "transformer", HEADS: 2, DROPOUT: 0.2}
    assert space.active(everything) == everything
    assert set(space.active({**everything, HEADS: 1})) == {FOV, TAU, CROPS, KIND, HEADS}
    mlp = space.active({**everything, KIND: "mlp"})
    assert set(mlp) == {FOV, TAU, CROPS, KIND}
    assert space.fill(mlp)["model"] == {"translator": {"kind": "mlp"}}
    assert space.paper == {FOV: 80, TAU: 0.07, CROPS: 4, KIND: "transformer", HEADS: 1}


def test_optuna_draws_within_the_ranges_and_only_what_is_active() -> None:
    space = Space(TREE, "file")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, set[Any]] = {}
    for _ in range(200):
        trial = study.ask()
        params = space.suggest(trial)
        assert params == trial.params == space.active({**space.paper, DROPOUT: 0.1, HEADS: 1, **params})
        for path, value in params.items():
            seen.setdefault(path, set()).add(value)
    assert seen[FOV] == {60, 65, 70, 75, 80, 85, 90}
    assert seen[CROPS] == {2, 4, 6, 8}
    assert all(0.03 <= value <= 0.3 for value in seen[TAU])
    below = sum(value < 0.0949 for value in seen[TAU])  # the geometric mean of the ends
    assert 70 < below < 130
    assert seen[HEADS] == {1, 2}


def test_corners_reach_every_end_with_its_condition() -> None:
    space = Space(TREE, "file")
    corners = [(found.path, value, params) for found, value, params in space.corners()]
    assert {value for path, value, _ in corners if path == TAU} == {0.03, 0.3, 0.03 + 379 / 1024 * 0.27}
    assert {value for path, value, _ in corners if path == KIND} == {"transformer", "mlp"}
    for path, value, params in corners:
        assert params[path] == value
        assert path != DROPOUT or (params[HEADS], params[KIND]) == (2, "transformer")


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"float": [1, 0], "paper": 0.5}, "float needs [low, high] with low < high, got [1, 0]"),
        ({"float": [0, 1], "log": True, "paper": 0.5}, "a logarithmic range begins above 0 and has no step"),
        ({"int": [1, 2.5], "paper": 1}, "int needs [low, high] with low < high, got [1, 2.5]"),
        ({"int": [1, 4]}, "paper is missing: the value of the paper's configuration"),
        ({"int": [1, 4], "paper": 5}, "paper 5 is outside of int [1, 4]"),
        ({"int": [1, 4], "paper": True}, "paper True is outside of int [1, 4]"),
        ({"choice": ["a", "b"], "paper": "c"}, "paper 'c' is outside of choice ['a', 'b']"),
        ({"choice": [{"a": 1}], "paper": 1}, "choices are plain values: numbers, words, true, false, null"),
        ({"choice": [1, 2], "log": True, "paper": 1}, "a range of kind choice has no log"),
        ({"float": [0, 1], "paper": 0.5, "setp": 0.1}, "a range of kind float has no setp"),
        ({"float": [0, 1], "paper": 0.5, "step": 0}, "step must be above 0, got 0"),
        ({"int": [2, 8], "step": 2, "paper": 3}, "paper 3 is outside of int [2, 8]"),
        ({"int": [2, 8], "step": 4, "paper": 2}, "steps of 4 from 2 do not reach 8"),
        ({"float": [0, 1], "step": 0.3, "paper": 0.3}, "steps of 0.3 from 0.0 do not reach 1.0"),
        ({"float": [0, 1], "paper": 0.5, "when": {"a.b": 1}}, "when: a.b is no range of this space"),
        ({"float": [0, 1], "paper": 0.5, "when": {"x": 2}}, "when: conditions name each other"),
    ],
)
def test_malformed_ranges(node: dict[str, Any], line: str) -> None:
    tree = {"section": {"key": node}, "x": {"int": [1, 3], "paper": 1, "when": {"section.key": 0.5}}}
    if "when" not in node or "a.b" in node["when"]:
        del tree["x"]
    with pytest.raises(UserError) as error:
        Space(tree, "configs/sweep/x.yaml")
    assert str(error.value) == f"configs/sweep/x.yaml: space: section.key: {line}"


def test_a_condition_that_never_holds() -> None:
    tree = {"a": {"choice": [1, 2], "paper": 1}, "b": {"int": [1, 2], "paper": 1, "when": {"a": 3}}}
    with pytest.raises(UserError, match=r"space: b: when: a is never 3$"):
        Space(tree, "file")


def test_a_value_of_a_list_is_not_conditional() -> None:
    tree = {"a": {"choice": [1, 2], "paper": 1}, "b": [{"int": [1, 2], "paper": 1, "when": {"a": 1}}]}
    with pytest.raises(UserError, match=r"space: b.0: a value of a list cannot be conditional$"):
        Space(tree, "file")


def test_a_space_without_ranges() -> None:
    with pytest.raises(UserError, match=r"^file: space: has no range"):
        Space({"model": {"width": 0.5}}, "file")
