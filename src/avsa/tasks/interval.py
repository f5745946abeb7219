"""Accuracy with a 95 % interval where several decisions come from one clip and are not independent."""

from __future__ import annotations

import math
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
    """Mean of P decisions with an interval that is robust to correlation within a clip.

    Cluster-robust variance of a mean (Liang and Zeger 1986): with residual sums e_c over the decisions of clip c of C,
    var = C/(C − 1) · Σ e_c² / P². Score interval (Wilson 1927) for as many independent decisions as have this
    variance, p(1 − p)/var; at most P, and C where nothing varies:
    the interval of 100 % right is not a point.
    """
    right = right_P.double()
    mean = right.mean()
    _, index = clip_P.unique(return_inverse=True)
    clips = int(index.max()) + 1
    sums = torch.zeros(clips, dtype=torch.float64).index_add_(0, index, right - mean)
    variance = float(clips / max(clips - 1, 1) * sums.square().sum() / len(right) ** 2)
    p, z2 = float(mean), 1.959964**2
    independent = min(p * (1 - p) / variance, len(right)) if variance > 1e-12 else clips
    middle = (p + z2 / (2 * independent)) / (1 + z2 / independent)
    half = math.sqrt(z2 * (p * (1 - p) / independent + z2 / (4 * independent**2))) / (1 + z2 / independent)
    return Accuracy(100 * p, 100 * max(middle - half, 0), 100 * min(middle + half, 1), len(right))
