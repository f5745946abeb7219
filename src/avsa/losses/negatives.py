"""Which candidates a query is contrasted with: the pretext tasks as sets of negatives.

Shapes: N queries, M candidates. An embedding row is one crop of one video: (video, moment, viewpoint). Seen from a
query, a candidate of
    another video                               is an *instance* negative (easy),
    the same video at another moment            is a *temporal* negative,
    the same video and moment, another viewpoint is a *spatial* negative (hard),
and the one with all three equal is the positive. A pretext task is a choice among the three kinds.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

CandidateSet = Literal["paper", "released"]


@dataclass(frozen=True)
class Rows:
    """Where each of N embedding rows comes from: three integer tensors of length N."""

    video: Tensor
    moment: Tensor
    viewpoint: Tensor


@dataclass(frozen=True)
class Objective:
    """A pretext task: its negatives, and which features stand on either side.

    `translated`: the translators' predictions are contrasted with encoder features, not these with each other.
    `pooled`: features are max-pooled over the viewpoints first, so that a row is a whole clip.
    """

    instance: bool = False
    temporal: bool = False
    spatial: bool = False
    translated: bool = True
    pooled: bool = False


OBJECTIVES: dict[str, Objective] = {
    "avc": Objective(instance=True, translated=False),
    "avc-multi": Objective(instance=True, pooled=True),
    "avts": Objective(instance=True, temporal=True),
    "avsa": Objective(instance=True, spatial=True),
    "avsa+avts": Objective(instance=True, spatial=True, temporal=True),
    "hard-only": Objective(spatial=True),
}


def positive_mask(query: Rows, key: Rows) -> Tensor:
    """mask_NM, true where query and candidate are the two sides of one crop."""
    return _same(query.video, key.video) & _same(query.moment, key.moment) & _same(query.viewpoint, key.viewpoint)


def spatial_mask(query: Rows, key: Rows) -> Tensor:
    """mask_NM, true where the candidate is another viewpoint of the query's clip."""
    same_clip = _same(query.video, key.video) & _same(query.moment, key.moment)
    return same_clip & ~_same(query.viewpoint, key.viewpoint)


def candidate_mask(objective: Objective, query: Rows, key: Rows, candidate_set: CandidateSet = "paper") -> Tensor:
    """mask_NM, true where the candidate counts for the query: its positive and the objective's negatives.

    Set "paper": every crop of the right kind (for `avsa` all N·K of the batch, equation 9). Set "released": of other
    videos and moments only the crop with the query's viewpoint index, as the published code has it.
    """
    same_video = _same(query.video, key.video)
    same_clip = same_video & _same(query.moment, key.moment)
    same_viewpoint = _same(query.viewpoint, key.viewpoint)

    far = torch.zeros_like(same_video)
    if objective.instance:
        far |= ~same_video
    if objective.temporal:
        far |= same_video & ~same_clip
    if candidate_set == "released":
        far &= same_viewpoint
    near = same_clip if objective.spatial else same_clip & same_viewpoint
    return near | far


def _same(query_N: Tensor, key_M: Tensor) -> Tensor:
    return query_N[:, None] == key_M[None, :]
