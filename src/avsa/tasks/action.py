"""Action recognition: a network and a linear layer, fine-tuned together (paper, section 4.4).

Shapes: B clips, V test videos, S clips of one video, C classes (channels in video_BCTHW), D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsa.models.encoder import Encoder, video_features
from avsa.models.heads import ActionHead
from avsa.tasks.interval import Accuracy, clustered_accuracy

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.action import ActionBatch


class Recogniser(nn.Module):
    """An encoder and a linear layer on its video features."""

    def __init__(self, encoder: Encoder, head: ActionHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, video_BCTHW: Tensor) -> Tensor:
        """logits_BC."""
        logits_BC: Tensor = self.head(video_features(self.encoder, video_BCTHW))
        return logits_BC


class ActionTask:
    """An encoder that learns to tell actions apart; satisfies the engine's task protocol. The encoder itself changes.

    Args:
        views: makes a batch into the encoder's input, video_BCTHW.
        example: a batch on the encoder's device; it shows which parameters the loss reaches.
        seed: of the linear layer's weights.
    """

    def __init__(
        self, encoder: Encoder, classes: int, views: Callable[[ActionBatch], Tensor], example: ActionBatch, seed: int
    ) -> None:
        self.views = views
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            head = ActionHead(encoder.video_dim, classes)
        self.model = Recogniser(encoder, head.to(example.label_N.device)).eval()
        parameters = list(self.model.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        gradients = torch.autograd.grad(self.step(example)[0], parameters, allow_unused=True)
        self._trained = [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]

    def trained(self) -> Iterator[nn.Parameter]:
        """What the loss reaches: the video encoder and the linear layer."""
        return iter(self._trained)

    def step(self, batch: ActionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(cross-entropy, accuracy) of the batch's clips."""
        logits_BC = self.model(self.views(batch))
        accuracy = (logits_BC.detach().argmax(1) == batch.label_N).float().mean()
        return F.cross_entropy(logits_BC.float(), batch.label_N), {"accuracy": accuracy}

    @torch.no_grad()
    def predict(self, batches: Iterable[ActionBatch], clips: int) -> Tensor:
        """logits_VSC on the CPU of test videos whose S = ``clips`` clips lie side by side in the batches."""
        self.model.eval()
        logits_NC = torch.cat([self.model(self.views(batch)).float().cpu() for batch in batches])
        logits_VSC: Tensor = logits_NC.unflatten(0, (-1, clips))
        return logits_VSC


@dataclass(frozen=True)
class Scores:
    """What is said of each test video, and how often it is right.

    ``probability_VC`` is the mean over a video's clips of their softmax. ``clip_topK`` is the share of single clips
    whose right class is among their K likeliest, ``video_topK`` the share of videos by their mean probability.
    """

    probability_VC: Tensor
    accuracies: dict[str, Accuracy]


def score(logits_VSC: Tensor, label_V: Tensor, source_V: Tensor) -> Scores:
    """Top-1 and top-5 (all classes, where there are fewer) of clips and of videos.

    Args:
        source_V: a number for each video; intervals take decisions of equal numbers as not independent.
    """
    V, S = logits_VSC.shape[:2]
    probability_VSC = logits_VSC.double().softmax(2)
    probability_VC = probability_VSC.mean(1)
    accuracies = {}
    for k in (1, 5):
        clip_VS = _among(probability_VSC, label_V[:, None].expand(V, S), k)
        accuracies[f"clip_top{k}"] = clustered_accuracy(clip_VS.flatten(), source_V.repeat_interleave(S))
        accuracies[f"video_top{k}"] = clustered_accuracy(_among(probability_VC, label_V, k), source_V)
    return Scores(probability_VC, accuracies)


def _among(score_XC: Tensor, label_X: Tensor, k: int) -> Tensor:
    """Whether the label is one of the k highest scores."""
    best_Xk = score_XC.topk(min(k, score_XC.shape[-1]), dim=-1).indices
    return (best_Xk == label_X[..., None]).any(-1)


def confusion(predicted_V: Tensor, label_V: Tensor, classes: int) -> Tensor:
    """Number of videos of the row's class that were taken for the column's."""
    return torch.bincount(label_V * classes + predicted_V, minlength=classes**2).view(classes, classes)
