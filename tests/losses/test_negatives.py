"""Sizes of the candidate sets, counted by hand, and their set algebra."""

import torch

from avsa.losses import OBJECTIVES, Rows, candidate_mask, positive_mask


def _rows(videos: int, moments: int, viewpoints: int) -> Rows:
    grid = torch.cartesian_prod(torch.arange(videos), torch.arange(moments), torch.arange(viewpoints))
    return Rows(grid[:, 0], grid[:, 1], grid[:, 2])


def test_number_of_candidates_per_query() -> None:
    N, M, K = 5, 3, 4
    rows = _rows(N, M, K)
    wanted = {
        ("avc", "paper"): 1 + (N - 1) * M * K,
        ("avts", "paper"): 1 + (M - 1) * K + (N - 1) * M * K,
        ("avsa", "paper"): K + (N - 1) * M * K,
        ("avsa+avts", "paper"): N * M * K,
        ("hard-only", "paper"): K,
        ("avc", "released"): 1 + (N - 1) * M,
        ("avts", "released"): 1 + (M - 1) + (N - 1) * M,
        ("avsa", "released"): K + (N - 1) * M,
        ("hard-only", "released"): K,
    }
    for (name, candidate_set), count in wanted.items():
        mask = candidate_mask(OBJECTIVES[name], rows, rows, candidate_set)  # type: ignore[arg-type]
        assert mask.sum(dim=1).tolist() == [count] * (N * M * K), (name, candidate_set)


def test_one_moment_gives_the_published_avsa_sets() -> None:
    N, K = 7, 4
    rows = _rows(N, 1, K)
    assert candidate_mask(OBJECTIVES["avsa"], rows, rows, "paper").all()
    assert candidate_mask(OBJECTIVES["avsa"], rows, rows, "released").sum(dim=1).tolist() == [N + K - 1] * (N * K)


def test_the_positive_is_always_a_candidate_and_unique() -> None:
    rows = _rows(3, 2, 4)
    positive = positive_mask(rows, rows)
    assert torch.equal(positive, torch.eye(24, dtype=torch.bool))
    for objective in OBJECTIVES.values():
        for candidate_set in ("paper", "released"):
            assert (candidate_mask(objective, rows, rows, candidate_set) | ~positive).all()


def test_kinds_of_negatives_add_up() -> None:
    """avsa+avts is the union of avsa and avts; hard-only and avc meet in the positives alone."""
    rows = _rows(3, 2, 4)
    mask = {name: candidate_mask(objective, rows, rows) for name, objective in OBJECTIVES.items()}
    assert torch.equal(mask["avsa+avts"], mask["avsa"] | mask["avts"])
    assert torch.equal(mask["avsa"], mask["avc"] | mask["hard-only"])
    assert torch.equal(mask["avc"] & mask["hard-only"], positive_mask(rows, rows))
