"""The cross-entropy itself, on cases with a known answer."""

import math

import pytest
import torch

from avsa.losses import info_nce, within_clip_accuracy
from avsa.losses.infonce import normalise


def test_orthogonal_embeddings_have_a_closed_form() -> None:
    """Positives at cosine 1, n − 1 negatives at cosine 0: the loss is log(1 + (n − 1)·exp(−1/τ))."""
    eye = torch.eye(5, dtype=torch.float64)
    everything = torch.ones(5, 5, dtype=torch.bool)
    loss, accuracy = info_nce(eye, eye, torch.arange(5), everything, temperature=0.5)
    assert float(loss) == pytest.approx(math.log(1 + 4 * math.exp(-2)), abs=1e-12)
    assert float(accuracy) == 1.0


def test_candidates_left_out_do_not_count_at_all() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (normalise(torch.randn(6, 8, generator=generator, dtype=torch.float64)) for _ in range(2))
    mask = torch.eye(6, dtype=torch.bool)
    mask[:, :2] = True
    key.requires_grad_()
    loss, _ = info_nce(query, key, torch.arange(6), mask)
    by_hand = []
    for n in range(6):
        others = [m for m in (0, 1) if m != n]
        by_hand.append(math.log(1 + sum(math.exp(float(query[n] @ (key[m] - key[n])) / 0.07) for m in others)))
    assert float(loss) == pytest.approx(sum(by_hand) / 6, abs=1e-10)


def test_accuracy_counts_the_positives_on_top() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    key = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2, 1] = False
    _, accuracy = info_nce(query, key, torch.tensor([0, 1, 2, 3]), mask)
    assert float(accuracy) == 0.75
    mask[3] = torch.tensor([False, True, False, True])  # cosines 0 and −1
    assert float(info_nce(query, key, torch.tensor([0, 1, 2, 3]), mask)[1]) == 0.75
    mask[3, 1] = False
    assert float(info_nce(query, key, torch.tensor([0, 1, 2, 3]), mask)[1]) == 1.0


def test_within_clip_accuracy_looks_at_the_own_clip_only() -> None:
    """Clip 0 matches by itself; clip 1 matches clip 0's keys better, which must not matter; clip 2 is swapped."""
    a, b = [1.0, 0.0], [0.0, 1.0]
    query = torch.tensor([[a, b], [a, b], [a, b]])
    key = torch.tensor([[a, b], [[0.6, 0.8], [0.5, 0.866]], [b, a]])
    assert float(within_clip_accuracy(query, key)) == pytest.approx(4 / 6)


def test_normalised_embeddings_are_float32_at_least() -> None:
    for dtype, wanted in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        unit = normalise(torch.randn(3, 16).to(dtype))
        assert unit.dtype == wanted
        torch.testing.assert_close(unit.norm(dim=1), torch.ones(3, dtype=wanted))
