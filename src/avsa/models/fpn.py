"""Feature pyramid head for semantic segmentation of a clip's crop: one label map for its T frames.

The semantic branch of Kirillov et al. 2019 ("Panoptic feature pyramid networks", figure 3) on the maps of a video
encoder, with a learned pooling over time (Morgado et al. 2020, section 4.3). Names follow the published heads.

Shapes: B crops, C channels, T time, H×W pixels, D values of the conditioning vector; levels 2 (finest) … 5.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = (2, 3, 4, 5)
IN_GROUP = 4  # channels that a group norm joins: the published 32 groups of 128
INITIAL_STD = 0.001


class TimePool(nn.Module):
    """Weighted sum over T steps of time; the weights are learned, and at first make the mean."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, steps, 1, 1), 1 / steps))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return (x_BCTHW * self.weight).sum(2)


def _upsampling(channels: int, branch: int, times: int) -> nn.Sequential:
    """3×3 convolution, group norm, ReLU, and ×2, so many times; once and without the ×2 for the finest level."""
    layers: list[nn.Module] = []
    for i in range(max(times, 1)):
        layers += [
            nn.Conv2d(channels if i == 0 else branch, branch, 3, padding=1, bias=False),
            nn.GroupNorm(branch // IN_GROUP, branch),
            nn.ReLU(inplace=True),
        ]
        if times:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


class FPNHead(nn.Module):
    """From four maps of a video encoder to logits_BCHW at the finest map's resolution.

    Args:
        channels: of the four maps, finest first.
        steps: their lengths in time.
        conditioning: D of a vector that is put behind the coarsest map's channels at every place; 0 for none.
        classes: C of the logits.
        dim: channels of the pyramid.
        branch: channels of the semantic branch, a multiple of 4.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512),
        steps: Sequence[int] = (8, 4, 2, 1),
        conditioning: int = 0,
        classes: int = 32,
        dim: int = 256,
        branch: int = 128,
    ) -> None:
        super().__init__()
        if branch % IN_GROUP:
            raise ValueError(f"the semantic branch needs a multiple of {IN_GROUP} channels, not {branch}")
        for level, level_channels, level_steps in zip(LEVELS, channels, steps, strict=True):
            below = level_channels + (conditioning if level == LEVELS[-1] else 0)
            self.add_module(f"time_pool{level}", TimePool(level_steps))
            self.add_module(f"lat_fpn_{level}", nn.Conv2d(below, dim, 1))
            self.add_module(f"out_fpn_{level}", nn.Conv2d(dim, dim, 3, padding=1))
            self.add_module(f"upsampling{level}", _upsampling(dim, branch, level - LEVELS[0]))
        self.predictor = nn.Conv2d(branch, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, INITIAL_STD)

    def forward(self, maps: Sequence[Tensor], conditioning_BD: Tensor | None = None) -> Tensor:
        """logits_BCHW of four maps_BCTHW, finest first; each side is half of the one before, rounded up."""
        levels = list(maps)
        if conditioning_BD is not None:
            coarsest = levels[-1]
            everywhere = conditioning_BD[:, :, None, None, None].expand(-1, -1, *coarsest.shape[2:])
            levels[-1] = torch.cat([coarsest, everywhere.to(coarsest.dtype)], dim=1)
        above, total = None, None
        height, width = levels[0].shape[3:]
        for level, x_BCTHW in zip(reversed(LEVELS), reversed(levels), strict=True):
            pooled = self._part("time_pool", level)(x_BCTHW).contiguous(memory_format=torch.channels_last)
            lateral = self._part("lat_fpn_", level)(pooled)
            if above is not None:  # of an odd side, the last pixel's second half lies outside
                lateral = lateral + F.interpolate(above, scale_factor=2)[..., : lateral.shape[2], : lateral.shape[3]]
            semantic = self._part("upsampling", level)(self._part("out_fpn_", level)(lateral))[..., :height, :width]
            above, total = lateral, semantic if total is None else total + semantic
        return self.predictor(total)  # type: ignore[no-any-return]

    def _part(self, name: str, level: int) -> nn.Module:
        return self.get_submodule(f"{name}{level}")
