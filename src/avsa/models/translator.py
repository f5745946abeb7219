"""Translators: from the features of one modality at K viewpoints to those of the other, jointly over the viewpoints.

Shapes: B clips, K viewpoints, D features, N attention heads, E features of one head.
"""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

TranslatorKind = Literal["transformer", "mlp", "none"]


class Attention(nn.Module):
    """Scaled dot-product attention over the K viewpoints, without positions: these would give the answer away.

    With several heads the weights are dropped out too; the published single-head layer does not do so.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} features cannot be split over {heads} heads")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.dense = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout if heads > 1 else 0.0)

    def forward(self, x_BKD: Tensor) -> Tensor:
        query_BNKE, key_BNKE, value_BNKE = (
            linear(x_BKD).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        scores_BNKK = query_BNKE @ key_BNKE.transpose(2, 3) / math.sqrt(query_BNKE.shape[3])
        context_BNKE = self.dropout(scores_BNKK.softmax(dim=3)) @ value_BNKE
        return self.dense(context_BNKE.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _feed_forward(dim: int, expansion: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim * expansion), nn.ReLU(), nn.Linear(dim * expansion, dim))


class TransformerLayer(nn.Module):
    """Post-norm transformer layer; `final_relu` as published (equation 6 of the paper has none)."""

    def __init__(self, dim: int, expansion: int, heads: int, dropout: float, final_relu: bool) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.dense = _feed_forward(dim, expansion)
        self.dense_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.final_relu = final_relu

    def forward(self, x_BKD: Tensor) -> Tensor:
        x = self.attention_norm(x_BKD + self.dropout(self.attention(x_BKD)))
        x = self.dense_norm(x + self.dropout(self.dense(x)))
        return F.relu(x) if self.final_relu else x


class ContextFreeLayer(nn.Module):
    """The same depth of computation for each viewpoint by itself: a second feed-forward stands in for the attention."""

    def __init__(self, dim: int, expansion: int, dropout: float, final_relu: bool) -> None:
        super().__init__()
        self.dense1 = _feed_forward(dim, expansion)
        self.dense1_norm = nn.LayerNorm(dim)
        self.dense2 = _feed_forward(dim, expansion)
        self.dense2_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.final_relu = final_relu

    def forward(self, x_BKD: Tensor) -> Tensor:
        x = F.relu(self.dense1_norm(x_BKD + self.dropout(self.dense1(x_BKD))))
        x = self.dense2_norm(x + self.dropout(self.dense2(x)))
        return F.relu(x) if self.final_relu else x


class Translator(nn.Module):
    """`depth` layers, features_BKD -> features_BKD. Kind "none", and depth 0, hand the features through unchanged."""

    def __init__(
        self,
        kind: TranslatorKind = "transformer",
        dim: int = 512,
        depth: int = 2,
        expansion: int = 4,
        heads: int = 1,
        dropout: float = 0.1,
        final_relu: bool = True,
    ) -> None:
        super().__init__()
        if kind == "transformer":
            layers: list[nn.Module] = [
                TransformerLayer(dim, expansion, heads, dropout, final_relu) for _ in range(depth)
            ]
        elif kind == "mlp":
            layers = [ContextFreeLayer(dim, expansion, dropout, final_relu) for _ in range(depth)]
        elif kind == "none":
            layers = []
        else:
            raise ValueError(f"unknown translator kind {kind!r}")
        self.transformer = nn.Sequential(*layers)

    def forward(self, features_BKD: Tensor) -> Tensor:
        return self.transformer(features_BKD)  # type: ignore[no-any-return]
