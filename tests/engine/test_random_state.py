"""Generators that continue where they were."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from avsa.engine import random_state


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))]


def test_restored_generators_repeat_through_a_weights_only_file() -> None:
    random_state.seed(1)
    draw()
    file = io.BytesIO()
    torch.save(random_state.capture(), file)
    wanted = draw()
    draw()
    file.seek(0)
    random_state.restore(torch.load(file, weights_only=True))
    assert draw() == wanted


def test_seeds_and_ranks_differ_and_repeat() -> None:
    drawn = []
    for seed, rank in ((1, 0), (1, 1), (2, 0), (1, 0)):
        random_state.seed(seed, rank)
        drawn.append(tuple(draw()))
    assert drawn[3] == drawn[0]
    assert all(len({column[i] for column in drawn}) == 3 for i in range(5))


def test_kept_draws_leave_no_trace() -> None:
    random_state.seed(1)
    wanted = draw()
    random_state.seed(1)
    with random_state.kept():
        assert draw() == wanted
    assert draw() == wanted
