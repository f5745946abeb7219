"""What is wrong in a sweep file, in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_toy import SPACE

from avsa.errors import UserError
from avsa.sweep.plan import make_plan, read_plan

PLAN: dict[str, Any] = {"study": "s", "budget": {"clips": 100}, "metrics": ["within-clip"], "space": SPACE}
TWO = ["avsa-bin/4 crops/accuracy", "segmentation/video/miou"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"trails": 3}, "trails: unknown key; known here: study, runs, budget, "),
        ({"metrics": ["accuracy"]}, "metrics.0: no metric 'accuracy': give within-clip or task/setting/metric"),
        ({"metrics": TWO}, "trials with several metrics cannot be pruned: set pruning to null"),
        ({"metrics": TWO, "pruning": None}, "several metrics have no single winner: set finalists.count to 0"),
        ({"metrics": ["within-clip"] * 2}, "metrics: the same one twice"),
        ({"budget": {}}, "budget: give clips or crops"),
        ({"budget": {"clips": 1, "crops": 1}}, "budget: give clips or crops"),
        ({"finalists": {"seeds": [0, 1]}}, "finalists.seeds: 0 is the seed of the search, finalists need unseen ones"),
        ({"finalists": {"seeds": [1, 2, 1]}}, "finalists.seeds: the same one twice"),
        ({"study": "a.random"}, "study: a name of letters, digits, - and _, got 'a.random'"),
        ({"trials": 0}, "trials: input should be greater than or equal to 1"),
    ],
)
def test_mistakes(change: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(PLAN | change, "x.yaml")
    assert str(error.value).startswith(f"x.yaml: {line}")
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such configuration file"):
        read_plan(tmp_path / "none.yaml")
