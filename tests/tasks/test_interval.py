"""The interval of an accuracy whose decisions come in clusters."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from avsa.tasks.interval import clustered_accuracy

Z = 1.959964


def simulate(rng: np.random.Generator, clips: int, per_clip: int, p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Decisions right with probability p over all, but easier in some clips (Beta(2p, 2 − 2p)) than in others."""
    easy = rng.beta(2 * p, 2 - 2 * p, clips)
    right = rng.random((per_clip, clips)) < easy
    return torch.from_numpy(right.reshape(-1)), torch.arange(clips).repeat(per_clip)


def test_against_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    right_P, clip_P = torch.from_numpy(rng.random(300) < 0.7), torch.from_numpy(rng.integers(0, 40, 300) * 7)
    found = clustered_accuracy(right_P, clip_P)

    right, clip = [float(x) for x in right_P], clip_P.tolist()
    p = sum(right) / 300
    squares, ids = 0.0, sorted(set(clip))
    for one in ids:
        residual = 0.0
        for i in range(300):
            if clip[i] == one:
                residual += right[i] - p
        squares += residual**2
    variance = len(ids) / (len(ids) - 1) * squares / 300**2
    n = p * (1 - p) / variance

    assert found.n == 300
    assert found.value == pytest.approx(100 * p)
    # The ends of a score interval are where the distance to p is Z standard errors of the end itself.
    for end in (found.low / 100, found.high / 100):
        assert abs(end - p) == pytest.approx(Z * math.sqrt(end * (1 - end) / n), rel=1e-6)
    assert found.low < found.value < found.high


def test_against_a_bootstrap_over_clips() -> None:
    rng = np.random.default_rng(1)
    right_P, clip_P = simulate(rng, clips=500, per_clip=4, p=0.7)
    found = clustered_accuracy(right_P, clip_P)
    means: npt.NDArray[np.float64] = right_P.numpy().reshape(4, 500).mean(0)
    resampled = means[rng.integers(0, 500, (4000, 500))].mean(1) * 100
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.25)
    assert found.high == pytest.approx(high, abs=0.25)
    alone = clustered_accuracy(right_P, torch.arange(2000))  # as if all decisions were independent
    assert found.high - found.low > 1.2 * (alone.high - alone.low)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.97])
def test_it_covers_the_truth_as_often_as_it_says(p: float) -> None:
    rng = np.random.default_rng(2)
    draws = [clustered_accuracy(*simulate(rng, clips=100, per_clip=4, p=p)) for _ in range(600)]
    covered = np.mean([draw.low <= 100 * p <= draw.high for draw in draws])
    assert 0.925 <= covered <= 0.98  # 0.95 ± 2.8 standard errors of 600 draws, and some approximation


def test_saying_everything_twice_tells_nothing_new() -> None:
    right_P, clip_P = simulate(np.random.default_rng(3), clips=60, per_clip=2, p=0.6)
    once, twice = clustered_accuracy(right_P, clip_P), clustered_accuracy(right_P.repeat(2), clip_P.repeat(2))
    assert twice.n == 2 * once.n
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_where_nothing_varies_the_interval_is_of_the_clips() -> None:
    clip_P = torch.arange(100).repeat(3)
    perfect = clustered_accuracy(torch.ones(300, dtype=torch.bool), clip_P)
    assert (perfect.value, perfect.high) == (100, 100)
    assert perfect.low == pytest.approx(100 / (1 + Z**2 / 100))  # Wilson's interval for 100 of 100
    hopeless = clustered_accuracy(torch.zeros(300, dtype=torch.bool), clip_P)
    assert (hopeless.low, hopeless.high) == pytest.approx((0, 100 - perfect.low), abs=1e-9)
    # One clip, or all clips alike, right half of the time.
    single = clustered_accuracy(torch.tensor([True, False]), torch.tensor([5, 5]))
    assert single.high - single.low > 75
