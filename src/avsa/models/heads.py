"""Small heads on the features.

Shapes: B clips, D features, E embedding; `...` is any number of leading axes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """One linear map into the space of the contrastive loss, features_...D -> embedding_...E (not yet normalised)."""

    def __init__(self, dim: int, embedding: int = 128) -> None:
        super().__init__()
        self.projection = nn.Sequential(nn.Linear(dim, embedding))

    def forward(self, features: Tensor) -> Tensor:
        return self.projection(features)  # type: ignore[no-any-return]


class BinaryHead(nn.Module):
    """Do a video and an audio feature belong together? Two logits; class 0 is the matching pair."""

    def __init__(self, video_dim: int = 512, audio_dim: int = 512, hidden: int | None = None) -> None:
        super().__init__()
        hidden = video_dim if hidden is None else hidden
        self.classifier = nn.Sequential(nn.Linear(video_dim + audio_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, video_D: Tensor, audio_D: Tensor) -> Tensor:
        """(..., video_dim), (..., audio_dim) -> logits (..., 2)."""
        pair = torch.cat([video_D, audio_D], dim=-1)
        if self.training:  # F.dropout, which draws one number after the other on a CPU, is a third of a head's training
            pair = torch.where(torch.rand_like(pair) < 0.5, 2 * pair, 0.0)
        return self.classifier(pair)  # type: ignore[no-any-return]


class ActionHead(nn.Module):
    """Which action does a crop show? Logits of the classes; names follow the published heads."""

    def __init__(self, dim: int = 512, classes: int = 101) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, classes)

    def forward(self, features_D: Tensor) -> Tensor:
        """Max-pooled features (..., dim) -> logits (..., classes); half of the features are dropped in training."""
        return self.classifier(F.dropout(features_D, 0.5, self.training))  # type: ignore[no-any-return]
