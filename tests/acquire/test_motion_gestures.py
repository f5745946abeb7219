"""Actions: they differ in how things move, and in nothing that a single frame shows."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import ks_2samp

from avsa.acquire.motion.gestures import ACTIONS, RADIUS, REACH, Start, track

STEP = 1e-4  # seconds
FIELDS = len(Start._fields)


def starts(count: int, seed: int = 0) -> list[Start]:
    return [Start(*row) for row in np.random.default_rng(seed).random((count, FIELDS))]


def velocity(action: str, start: Start) -> npt.NDArray[np.floating]:
    """Speeds of right, up, angle and the size's logarithm just after t = 0."""
    right, up, angle, radius = track(ACTIONS[action], start, np.array([0, STEP]))
    return np.array([np.diff(right)[0], np.diff(up)[0], np.diff(angle)[0], np.diff(np.log(radius))[0]]) / STEP


# Action -> (which of right, up, angle, size moves, its lowest and highest speed).
SPEEDS = {
    "drift_left": (0, -1.2, -0.7),
    "drift_right": (0, 0.7, 1.2),
    "rise": (1, 0.7, 1.2),
    "sink": (1, -1.2, -0.7),
    "spin_left": (2, 2, 4),
    "spin_right": (2, -4, -2),
    "approach": (3, 0.7, 1.1),
    "recede": (3, -1.1, -0.7),
}


def test_every_action_is_described_here() -> None:
    assert ACTIONS.keys() == SPEEDS.keys()


@pytest.mark.parametrize("action", SPEEDS)
def test_an_action_moves_one_thing_one_way(action: str) -> None:
    which, low, high = SPEEDS[action]
    speeds = np.array([velocity(action, start) for start in starts(200)])
    begins_anew = np.abs(speeds[:, which]) > 100
    assert begins_anew.mean() < 0.02
    moving = speeds[~begins_anew, which]
    assert moving.min() >= low - 1e-6
    assert moving.max() <= high + 1e-6
    np.testing.assert_allclose(np.delete(speeds, which, 1), 0, atol=1e-9)


@pytest.mark.parametrize("moment_s", [0.0, 1.7])
def test_a_single_frame_says_nothing_about_the_action(moment_s: float) -> None:
    """Place, angle and size are distributed alike: Kolmogorov and Smirnov find no action that differs."""
    count = 1500
    seen = {
        action: np.array([np.ravel(track(gesture, start, np.array([moment_s]))) for start in starts(count, seed)])
        for seed, (action, gesture) in enumerate(ACTIONS.items())
    }
    for values in seen.values():
        values[:, 2] %= 2 * np.pi
    reference = np.array([np.ravel(track(ACTIONS["rise"], start, np.array([0.0]))) for start in starts(20_000, 99)])
    reference[:, 2] %= 2 * np.pi
    lowest = min(
        ks_2samp(values[:, which], reference[:, which]).pvalue for values in seen.values() for which in range(4)
    )
    assert lowest > 0.05 / (4 * len(ACTIONS))  # Bonferroni


def test_things_stay_in_sight() -> None:
    for gesture in ACTIONS.values():
        for start in starts(50):
            right, up, _, radius = track(gesture, start, np.arange(0, 5, 0.04))
            assert max(np.abs(right).max(), np.abs(up).max()) <= REACH + 1e-9
            assert RADIUS[0] <= radius.min()
            assert radius.max() <= RADIUS[1]
