"""One InfoNCE; the pretext tasks are negative sets over it."""

from avsa.losses.contrastive import ContrastiveObjective, Pair
from avsa.losses.infonce import info_nce, within_clip_accuracy
from avsa.losses.negatives import OBJECTIVES, CandidateSet, Objective, Rows, candidate_mask, positive_mask

__all__ = [
    "OBJECTIVES",
    "CandidateSet",
    "ContrastiveObjective",
    "Objective",
    "Pair",
    "Rows",
    "candidate_mask",
    "info_nce",
    "positive_mask",
    "within_clip_accuracy",
]
