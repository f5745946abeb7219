"""InfoNCE over an arbitrary set of candidates.

Shapes: N queries, M candidates, E embedding, B clips, K viewpoints.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def normalise(embedding: Tensor) -> Tensor:
    """Unit length along the last axis, in at least float32: bf16 cosines are too coarse to be divided by τ."""
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=-1)


def info_nce(
    query_NE: Tensor,
    key_ME: Tensor,
    positive_N: Tensor,
    candidates_NM: Tensor,
    temperature: float = 0.07,
    weight_NM: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the positive among the candidates, as (mean loss, top-1 accuracy without gradient).

    Embeddings have unit length. For query n with candidates C(n) and cosine similarity s, equation 4 of Morgado et al.
    2020:  −log( exp(s(n, p(n))/τ) / Σ_{m ∈ C(n)} exp(s(n, m)/τ) ).  The positive must be among the candidates.
    With weights w > 0, which the accuracy does not know, the sum is that of w(n, m)·exp(s(n, m)/τ).
    """
    with torch.autocast(query_NE.device.type, enabled=False):
        logits_NM = (query_NE @ key_ME.T / temperature).masked_fill(~candidates_NM, -torch.inf)
        weighted_NM = logits_NM if weight_NM is None else logits_NM + weight_NM.log().to(logits_NM.dtype)
        loss = F.cross_entropy(weighted_NM, positive_N)
    accuracy = (logits_NM.detach().argmax(dim=1) == positive_N).to(loss.dtype).mean()
    return loss, accuracy


@torch.no_grad()
def within_clip_accuracy(query_BKE: Tensor, key_BKE: Tensor) -> Tensor:
    """How often a query's best match among the K crops of its own clip is the right one (chance: 1/K), a scalar."""
    with torch.autocast(query_BKE.device.type, enabled=False):
        best_BK = (query_BKE @ key_BKE.transpose(1, 2)).argmax(dim=2)
    return (best_BK == torch.arange(query_BKE.shape[1], device=best_BK.device)).to(query_BKE.dtype).mean()
