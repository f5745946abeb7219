"""Where clips sound from: directions of plane waves, histograms of one area, distances to what the truth tells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from avsa.report.sheet.hearing import (
    BLOCK_S,
    BLUR,
    FIELDS,
    Directions,
    density,
    heard,
    off_by,
    quarters,
    told,
    weighted_median,
)

RATE = 8000


def plane_wave(azimuth: float, elevation: float, signal_S: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """W, Y, Z, X in SN3D."""
    flat = math.cos(elevation)
    gains = [1, math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat]
    return np.outer(gains, signal_S).astype(np.float32)


def directions(*rows: tuple[float, float, float]) -> Directions:
    azimuth, elevation, weight = np.array(rows, float).reshape(-1, 3).T
    return Directions(azimuth, elevation, weight)


def test_a_plane_wave_is_heard_where_it_comes_from() -> None:
    """Two tenths of a second from one place, two at half the amplitude from another, and a rest that is too short."""
    noise = np.random.default_rng(0).normal(size=RATE // 10 * 2 + 7)
    first = plane_wave(2.0, 0.5, noise[: RATE // 5])
    then = plane_wave(-0.3, -1.0, 0.5 * noise)
    found = heard(np.concatenate([first, then], axis=1), RATE)
    np.testing.assert_allclose(found.azimuth, [2.0, 2.0, -0.3, -0.3], atol=1e-5)
    np.testing.assert_allclose(found.elevation, [0.5, 0.5, -1.0, -1.0], atol=1e-5)
    energy = (noise[: RATE // 5].reshape(2, -1) ** 2).mean(1)
    np.testing.assert_allclose(found.weight, [*energy, *(energy / 4)], rtol=1e-5)


def test_fields_are_of_one_area_and_count_what_lies_in_them() -> None:
    rng = np.random.default_rng(1)
    xyz = rng.normal(size=(200_000, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    even = Directions(np.arctan2(xyz[:, 1], xyz[:, 0]), np.arcsin(xyz[:, 2]), np.ones(len(xyz)))
    shares_EA = even.field_shares()
    assert shares_EA.shape == FIELDS
    np.testing.assert_allclose(shares_EA.sum(), 1)
    expected = 1 / shares_EA.size
    assert np.abs(shares_EA / expected - 1).max() < 5 / math.sqrt(len(xyz) * expected)
    shares_EA = directions((-math.pi, -math.pi / 2, 1), (math.pi, math.pi / 2, 2), (0.01, 0.01, 5)).field_shares()
    assert shares_EA[0, 0] == 1 / 8
    assert shares_EA[-1, 0] == 2 / 8  # π is −π
    assert shares_EA[FIELDS[0] // 2, FIELDS[1] // 2] == 5 / 8
    assert not directions().field_shares().any()


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.5, 0.2), (math.pi, 0.0), (1.0, 1.3)])
def test_the_blur_is_of_one_width_everywhere(azimuth: float, elevation: float) -> None:
    """Around one direction: the mean cosine of the distance is that of the distribution, coth κ − 1/κ."""
    density_EA = density(directions((azimuth, elevation, 3)))
    np.testing.assert_allclose(density_EA.mean(), 1)
    sine = (np.arange(FIELDS[0]) + 0.5) / FIELDS[0] * 2 - 1
    around = ((np.arange(FIELDS[1]) + 0.5) / FIELDS[1] * 2 - 1) * math.pi
    cosine_EA = np.sin(elevation) * sine[:, None] + np.cos(elevation) * np.sqrt(1 - sine**2)[:, None] * np.cos(
        around - azimuth
    )
    mean = (density_EA * cosine_EA).mean()
    assert 1 - mean == pytest.approx(BLUR**2, rel=0.25)  # the field's own size adds to it
    assert cosine_EA.reshape(-1)[density_EA.argmax()] > math.cos(0.1)


def test_truth_tells_what_sounds_while_it_sounds() -> None:
    truth = {
        "time_s": [0.0, 0.1],
        "objects": [
            {"sounding": True, "azimuth": [0.1, 0.2], "elevation": [0.3, 0.4]},
            {"sounding": False, "azimuth": [1.1, 1.2], "elevation": [1.3, 1.4]},
            {"sounding": True, "azimuth": [None, 0.6], "elevation": [None, 0.7]},
        ],
    }
    found = told(truth)
    assert sorted(zip(found.azimuth, found.elevation, strict=True)) == [(0.1, 0.3), (0.2, 0.4), (0.6, 0.7)]
    assert not len(told({}).weight)
    assert not len(told({"objects": []}).weight)


def test_distance_to_the_nearest_sounding_object() -> None:
    """By a loop over short times and objects; the third and fourth tenth are silent in the truth."""
    truth: dict[str, Any] = {
        "time_s": [0.0, 0.2, 0.4],
        "objects": [
            {"sounding": True, "azimuth": [0.0, None, 3.0], "elevation": [0.0, None, 0.5]},
            {"sounding": True, "azimuth": [2.0, None, None], "elevation": [-0.5, None, None]},
            {"sounding": False, "azimuth": [1.0, 1.0, 1.0], "elevation": [0.0, 0.0, 0.0]},
        ],
    }
    sound = directions((1.2, 0.1, 1), (0.3, 0.2, 2), (1.0, 0.0, 3), (-3.0, 0.6, 4), (3.0, 0.5, 5))
    angles, weight = off_by(sound, truth)

    def vector(azimuth: float, elevation: float) -> list[float]:
        flat = math.cos(elevation)
        return [math.cos(azimuth) * flat, math.sin(azimuth) * flat, math.sin(elevation)]

    expected, kept = [], []
    for i in range(5):
        middle = (i + 0.5) * BLOCK_S
        time = min(range(3), key=lambda t: abs(middle - truth["time_s"][t]))
        near = [
            math.acos(min(1.0, float(np.dot(vector(sound.azimuth[i], sound.elevation[i]), vector(az, el)))))
            for az, el in (
                (item["azimuth"][time], item["elevation"][time]) for item in truth["objects"] if item["sounding"]
            )
            if az is not None
        ]
        if near:
            expected.append(min(near))
            kept.append(sound.weight[i])
    assert len(kept) < 5
    np.testing.assert_allclose(angles, expected, atol=1e-6)
    np.testing.assert_array_equal(weight, kept)


def test_half_the_weight_lies_below_the_median() -> None:
    rng = np.random.default_rng(2)
    values, weight = rng.normal(size=101), rng.integers(1, 5, 101)
    assert weighted_median(values, weight.astype(float)) == np.sort(np.repeat(values, weight))[(weight.sum() - 1) // 2]


def test_quarters_are_around_their_names() -> None:
    around = [
        (0.7, 0.0, 1.0), (-0.7, 0.0, 2.0), (0.9, 0.6, 3.0), (math.pi, 0.0, 4.0), (-3.0, -0.6, 5.0), (-1.6, 0.0, 5.0),
    ]  # fmt: skip
    assert quarters(directions(*around)) == {
        "ahead": 3 / 20,
        "left": 3 / 20,
        "behind": 9 / 20,
        "right": 5 / 20,
        "above 30°": 3 / 20,
        "below −30°": 5 / 20,
    }
