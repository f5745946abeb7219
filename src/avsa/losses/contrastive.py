"""A pretext task's loss, from encoder features to (loss, metrics).

Shapes: B clips, K viewpoints, D features, E embedding; N = B·K rows (B where pooled).
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.losses.gather import gather_rows, world
from avsa.losses.infonce import info_nce, normalise, within_clip_accuracy
from avsa.losses.negatives import OBJECTIVES, CandidateSet, Rows, candidate_mask, positive_mask, spatial_mask
from avsa.models.heads import ProjectionHead
from avsa.models.network import AVSANetwork


class Pair(NamedTuple):
    """Unit embeddings, both (B, K, E): row (b, k) of `query` looks for row (b, k) of `key`."""

    query: Tensor
    key: Tensor


class ContrastiveObjective:
    """One of OBJECTIVES, with its candidate set and temperature.

    `gather`: contrast with the rows of all ranks (which must be equally many). The returned loss is then the mean over
    the own queries; averaging the gradients over ranks, as DistributedDataParallel does, gives those of one process
    with the concatenated batch.
    `hard_weight`: of spatial negatives in the loss, relative to the others. `translated`: in place of the objective's.
    Raises UserError for an unknown objective, and for a batch in which it leaves a query without any negative.
    """

    def __init__(
        self,
        name: str,
        candidate_set: CandidateSet = "paper",
        temperature: float = 0.07,
        gather: bool = True,
        hard_weight: float = 1.0,
        translated: bool | None = None,
    ) -> None:
        if name not in OBJECTIVES:
            raise UserError(f"unknown objective {name!r}: choose one of {', '.join(OBJECTIVES)}")
        self.name = name
        self.objective = OBJECTIVES[name]
        if translated is not None:
            self.objective = replace(self.objective, translated=translated)
        self.candidate_set = candidate_set
        self.temperature = temperature
        self.gather = gather
        self.hard_weight = hard_weight

    def embed(self, network: AVSANetwork, video_BKD: Tensor, audio_BKD: Tensor) -> dict[str, Pair]:
        """Both directions: "v2a", video looking for its audio, and "a2v". Pooled objectives give K = 1."""
        if self.objective.translated:
            from_video_BKD, from_audio_BKD = network.translate(video_BKD, audio_BKD)
            v2a_head, a2v_head = network.audio_pred_head, network.video_pred_head
        else:
            from_video_BKD, from_audio_BKD = video_BKD, audio_BKD
            v2a_head, a2v_head = network.video_head, network.audio_head

        def side(head: ProjectionHead, features_BKD: Tensor) -> Tensor:
            return normalise(head(features_BKD.amax(dim=1, keepdim=True) if self.objective.pooled else features_BKD))

        return {
            "v2a": Pair(side(v2a_head, from_video_BKD), side(network.audio_head, audio_BKD)),
            "a2v": Pair(side(a2v_head, from_audio_BKD), side(network.video_head, video_BKD)),
        }

    def __call__(
        self,
        network: AVSANetwork,
        video_BKD: Tensor,
        audio_BKD: Tensor,
        video_B: Tensor | None = None,
        moment_B: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(mean of both directions' InfoNCE, metrics).

        `video_B` says which video a clip is from (default: each from its own) and `moment_B` which moment of it
        (default: all 0); numbers are compared over all ranks. Metrics, without gradient: `accuracy_v2a`,
        `accuracy_a2v` among the candidates and, where K > 1, `within_clip_v2a`, `within_clip_a2v` among the own K.
        """
        pairs = self.embed(network, video_BKD, audio_BKD)
        B, K, _ = pairs["v2a"].query.shape
        query = _rows(B, K, video_B, moment_B, video_BKD.device, world()[0] if self.gather else 0)
        key = Rows(*map(self._gathered, (query.video, query.moment, query.viewpoint)))
        positive_NM = positive_mask(query, key)
        candidates_NM = candidate_mask(self.objective, query, key, self.candidate_set)
        if bool((positive_NM.sum(dim=1) != 1).any()):
            raise ValueError("two clips of the batch carry the same video and moment numbers")
        if bool((candidates_NM.sum(dim=1) < 2).any()):
            raise UserError(
                f"objective {self.name!r} has no negatives in a batch of {B} clips × {video_BKD.shape[1]} viewpoints: "
                "use more clips, moments or viewpoints"
            )

        weight_NM = None
        if self.hard_weight != 1:
            weight_NM = 1 + (self.hard_weight - 1) * spatial_mask(query, key).double()
        losses, metrics = [], {}
        for way, (query_BKE, key_BKE) in pairs.items():
            loss, metrics[f"accuracy_{way}"] = info_nce(
                query_BKE.flatten(0, 1),
                self._gathered(key_BKE.flatten(0, 1)),
                positive_NM.int().argmax(dim=1),
                candidates_NM,
                self.temperature,
                weight_NM,
            )
            losses.append(loss)
            if K > 1:
                metrics[f"within_clip_{way}"] = within_clip_accuracy(query_BKE, key_BKE)
        return (losses[0] + losses[1]) / 2, metrics

    def _gathered(self, rows: Tensor) -> Tensor:
        return gather_rows(rows) if self.gather else rows


def _rows(B: int, K: int, video_B: Tensor | None, moment_B: Tensor | None, device: torch.device, rank: int) -> Rows:
    video_B = torch.arange(B, device=device) + rank * B if video_B is None else video_B.to(device)
    moment_B = torch.zeros_like(video_B) if moment_B is None else moment_B.to(device)
    viewpoint_K = torch.arange(K, device=device)
    return Rows(video_B.repeat_interleave(K), moment_B.repeat_interleave(K), viewpoint_K.repeat(B))
