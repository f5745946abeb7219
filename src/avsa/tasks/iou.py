"""Pixel accuracy and intersection over union, with intervals over recordings.

Shapes: B images, H×W pixels, G recordings (groups of images that are not independent), C classes, S resamples; `...`
any leading shape. Confusion matrices count pixels: rows are targets, columns predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["pixel_accuracy", "miou", "miou_image"]
RESAMPLES = 2000


@dataclass(frozen=True)
class Tally:
    """What a network got right, per recording.

    `iou_G` and `pairs_G`: sum of intersection over union, and number, of all pairs of an image and a class that is in
    the image's target or prediction.
    """

    confusion_GCC: Tensor  # int64
    iou_G: Tensor  # float64
    pairs_G: Tensor  # int64
    images: int = 0

    @staticmethod
    def empty(recordings: int, classes: int) -> Tally:
        """Nothing counted yet."""
        confusion_GCC = torch.zeros(recordings, classes, classes, dtype=torch.int64)
        return Tally(confusion_GCC, torch.zeros(recordings, dtype=torch.float64), confusion_GCC[:, 0, 0].clone())

    def add(self, target_BHW: Tensor, predicted_BHW: Tensor, recording_B: Tensor, ignore: int) -> Tally:
        """This and the counts of more images; pixels whose target is `ignore` count nowhere, images of nothing else
        neither."""
        C, B = self.confusion_GCC.shape[1], len(target_BHW)
        target, predicted = target_BHW.long().cpu(), predicted_BHW.long().cpu()
        valid = target != ignore
        index = (torch.arange(B)[:, None, None] * C + target) * C + predicted
        confusion_BCC = torch.bincount(index[valid], minlength=B * C * C).view(B, C, C)
        both_BC = confusion_BCC.diagonal(dim1=1, dim2=2)
        either_BC = confusion_BCC.sum(1) + confusion_BCC.sum(2) - both_BC
        iou_B = (both_BC.double() / either_BC.clamp(min=1)).sum(1)
        group = recording_B.cpu()
        return Tally(
            self.confusion_GCC.index_add(0, group, confusion_BCC),
            self.iou_G.index_add(0, group, iou_B),
            self.pairs_G.index_add(0, group, (either_BC > 0).sum(1)),
            self.images + int(valid.flatten(1).any(1).sum()),
        )

    @property
    def confusion(self) -> Tensor:
        """Of all recordings together, C×C."""
        return self.confusion_GCC.sum(0)


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, (..., C); NaN where neither target nor prediction has it."""
    confusion = confusion.double()
    both = confusion.diagonal(dim1=-2, dim2=-1)
    return both / (confusion.sum(-1) + confusion.sum(-2) - both)


def measure(tally: Tally, seed: int) -> dict[Metric, tuple[float, float, float]]:
    """(value, low, high) in percent of each metric.

    - ``pixel_accuracy``: share of pixels that are right.
    - ``miou``: mean of `class_iou` over the data set's confusion matrix.
    - ``miou_image``: the paper's protocol, the mean over all pairs of an image and a class that it has (`Tally`).

    The 95 % interval is the percentile bootstrap (Efron 1979) over whole recordings, `RESAMPLES` times.

    Raises:
        ValueError: nothing was counted.
    """
    if not tally.images:
        raise ValueError("no pixel has a class")
    counted = tally.pairs_G > 0  # recordings of ignored pixels alone have no part in anything
    G = int(counted.sum())
    generator = torch.Generator().manual_seed(seed)
    drawn_SG = torch.randint(G, (RESAMPLES, G), generator=generator)
    times_SG = torch.zeros(RESAMPLES, G, dtype=torch.float64).scatter_add_(
        1, drawn_SG, torch.ones(1).double().expand_as(drawn_SG)
    )
    times_SG = torch.cat([torch.ones(1, G, dtype=torch.float64), times_SG])  # the data itself comes first
    confusion_SCC = (times_SG @ tally.confusion_GCC[counted].double().flatten(1)).unflatten(
        1, tally.confusion_GCC.shape[1:]
    )
    pairs_S, iou_S = times_SG @ tally.pairs_G[counted].double(), times_SG @ tally.iou_G[counted]
    right_S, pixels_S = confusion_SCC.diagonal(dim1=1, dim2=2).sum(1), confusion_SCC.sum((1, 2))
    values: dict[Metric, Tensor] = {
        "pixel_accuracy": right_S / pixels_S,
        "miou": class_iou(confusion_SCC).nanmean(1),
        "miou_image": iou_S / pairs_S,
    }
    found: dict[Metric, tuple[float, float, float]] = {}
    for name, value_S in values.items():
        low, high = value_S[1:].quantile(value_S.new_tensor([0.025, 0.975])).tolist()
        found[name] = (100 * float(value_S[0]), 100 * low, 100 * high)
    return found
