"""Where crops are taken."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import kstest

from avsa.errors import UserError
from avsa.geometry.crops import CropSampler
from avsa.geometry.sphere import angular_distance


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("crops", "separation_deg"), [(4, 36.0), (8, 36.0), (16, 36.0), (2, 170.0)])
def test_the_separation_is_enforced(crops: int, separation_deg: float) -> None:
    at = CropSampler(crops=crops, min_separation=math.radians(separation_deg)).sample(generator(), 300)
    assert at.azimuth_BK.shape == (300, crops)
    assert at.elevation_BK.abs().max() <= math.radians(60)
    for i in range(crops):
        for j in range(i):
            distance = angular_distance(
                at.azimuth_BK[:, i], at.elevation_BK[:, i], at.azimuth_BK[:, j], at.elevation_BK[:, j]
            )
            assert distance.min() >= math.radians(separation_deg) - 1e-6


@pytest.mark.parametrize("rule", ["area", "angle"])
def test_the_rule_says_how_elevations_are_distributed(rule: str) -> None:
    top = math.radians(60)
    at = CropSampler(crops=1, rule=rule, fov=(0.5, 1.5), aspect=(0.5, 2.0)).sample(generator(), 4000)
    elevation = at.elevation_BK[:, 0]
    uniform = torch.sin(elevation) / math.sin(top) if rule == "area" else elevation / top
    log_aspect = at.aspect_BK[:, 0].log() / math.log(2)
    for values in (uniform, at.azimuth_BK[:, 0] / math.pi, (at.fov_BK[:, 0] - 1) / 0.5, log_aspect):
        assert kstest(values.numpy(), "uniform", args=(-1, 2)).pvalue > 0.001
    wrong = elevation / top if rule == "area" else torch.sin(elevation) / math.sin(top)
    assert kstest(wrong.numpy(), "uniform", args=(-1, 2)).pvalue < 0.001


def test_one_seed_one_draw() -> None:
    sampler = CropSampler()
    first, again, other = (sampler.sample(generator(seed), 10) for seed in (1, 1, 2))
    assert torch.equal(first.azimuth_BK, again.azimuth_BK)
    assert torch.equal(first.fov_BK, again.fov_BK)
    assert not torch.equal(first.azimuth_BK, other.azimuth_BK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crops": 30}, "30 crops at least 36° apart do not fit within ±60°"),
        (
            {"crops": 3, "min_separation": math.radians(130), "max_elevation": 0.0},
            "3 crops at least 130° apart do not fit within ±0°",
        ),
        ({"crops": 0}, "crops is 0"),
        ({"rule": "equal"}, "'equal'"),
        ({"fov": (1.0, 4.0)}, "fov range"),
        ({"aspect": (2.0, 1.0)}, "aspect range"),
        ({"max_elevation": 2.0}, "max_elevation"),
    ],
)
def test_what_cannot_be_drawn_is_refused_on_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CropSampler(**arguments)
