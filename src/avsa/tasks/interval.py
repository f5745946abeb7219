"""Accuracy with a 95 % interval where several decisions come from one clip and are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """Percent right, its 95 % interval, and the number of decisions."""

    value: float
    low: float
    high: float
    n: int


def clustered_accuracy(right_P: Tensor, clip_P: Tensor) -> Accuracy:
    """Mean of P decisions with a normal interval whose standard error is robust to correlation within a clip.

    Cluster-robust variance of a mean (Liang and Zeger 1986): with residual sums e_c over the decisions of clip c of C,
    var = C/(C − 1) · Σ e_c² / P².
    """
    right = right_P.double()
    mean = right.mean()
    _, index = clip_P.unique(return_inverse=True)
    clips = int(index.max()) + 1
    sums = torch.zeros(clips, dtype=torch.float64).index_add_(0, index, right - mean)
    error = (clips / max(clips - 1, 1) * sums.square().sum()).sqrt() / len(right)
    half = 1.959964 * error
    low, high = (mean - half).clamp(0, 1), (mean + half).clamp(0, 1)
    return Accuracy(100 * float(mean), 100 * float(low), 100 * float(high), len(right))
