"""R(2+1)D video encoder.

Shapes: B clips, C channels, T frames, H×W pixels, D features.

Every convolution keeps the parameter shape of a Conv3d; those of the blocks run as two-dimensional ones on views. In
`channels_last_3d` memory (B, T, H, W, C) the frames [B·T, C, H, W] and the columns [B, C, T, H·W] are both ordinary
`channels_last` images, so that neither view copies. On the CPU that is faster, and in bf16 the only sound way: the
weight gradient of a three-dimensional kernel over T = 2 zero-padded frames is partly unwritten memory (torch 2.11).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VideoDepth = Literal[10, 18]


class SpatialConv(nn.Conv3d):
    """A 1×3×3 convolution without bias."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = F.conv2d(_frames(x_BCTHW), self.weight.squeeze(2), None, self.stride[1:], 1)
        return _clips(y, x_BCTHW.shape[2])


class TemporalConv(nn.Conv3d):
    """A 3×1×1 convolution without bias."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = F.conv2d(x_BCTHW.flatten(3), self.weight.squeeze(4), None, (self.stride[0], 1), (1, 0))
        return y.view(*y.shape[:3], *x_BCTHW.shape[3:])


class Shortcut(nn.Conv3d):
    """A strided 1×1×1 convolution without bias: the linear map of every s-th position.

    Sliced with the channels last, so that the gradient of the slice lies in memory as all others do.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        s = self.stride[0]
        x_BTHWC = x_BCTHW.permute(0, 2, 3, 4, 1)[:, ::s, ::s, ::s]
        return F.linear(x_BTHWC, self.weight.flatten(1)).permute(0, 4, 1, 2, 3)


class StemConv(nn.Conv3d):
    """The 3×7×7 convolution with stride 1×2×2 and without bias that opens the network."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        # The unsound case named above; padded beforehand it is sound.
        frames = 1 if x_BCTHW.shape[2] == 2 else 0
        x = F.pad(x_BCTHW, (0, 0, 0, 0, frames, frames)).contiguous(memory_format=torch.channels_last_3d)
        return F.conv3d(x, self.weight, None, self.stride, (1 - frames, 3, 3))


def _frames(x_BCTHW: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B·T, C, H, W)."""
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def _clips(x_NCHW: Tensor, frames: int) -> Tensor:
    """(B·T, C, H, W) -> (B, C, T, H, W)."""
    return x_NCHW.view(-1, frames, *x_NCHW.shape[1:]).transpose(1, 2)


class R2Plus1DBlock(nn.Module):
    """Two (spatial, temporal) convolution pairs and a shortcut; one batch norm acts on the sum of both branches."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.spt_conv1 = SpatialConv(in_channels, channels, stride)
        self.spt_bn1 = nn.BatchNorm3d(channels)
        self.tmp_conv1 = TemporalConv(channels, channels, stride)
        self.tmp_bn1 = nn.BatchNorm3d(channels)
        self.spt_conv2 = SpatialConv(channels, channels, 1)
        self.spt_bn2 = nn.BatchNorm3d(channels)
        self.tmp_conv2 = TemporalConv(channels, channels, 1)
        self.out_bn = nn.BatchNorm3d(channels)
        if stride != 1 or in_channels != channels:
            self.res_conv: nn.Module = Shortcut(in_channels, channels, stride)
        else:
            self.res_conv = nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        x = F.relu(self.spt_bn1(self.spt_conv1(x_BCTHW)), inplace=True)
        x = F.relu(self.tmp_bn1(self.tmp_conv1(x)), inplace=True)
        x = F.relu(self.spt_bn2(self.spt_conv2(x)), inplace=True)
        return F.relu(self.out_bn(self.tmp_conv2(x) + self.res_conv(x_BCTHW)), inplace=True)


def _stage(in_channels: int, channels: int, stride: int, depth: VideoDepth) -> nn.Module:
    first = R2Plus1DBlock(in_channels, channels, stride)
    # Depth 10 has no block index in its parameter names.
    return first if depth == 10 else nn.Sequential(first, R2Plus1DBlock(channels, channels, 1))


class VideoR2Plus1D(nn.Module):
    """R(2+1)D of depth 10 or 18 without widened middle planes (the supplement of Morgado et al. 2020).

    `width` scales every channel count: 512·width features come out. Any T and frame size work.
    """

    def __init__(self, depth: VideoDepth = 18, width: float = 1.0) -> None:
        super().__init__()
        if depth not in (10, 18):
            raise ValueError(f"depth must be 10 or 18, got {depth}")
        c2, c3, c4, c5 = (int(channels * width) for channels in (64, 128, 256, 512))
        self.features = c5
        self.conv1 = nn.Sequential(StemConv(3, c2), nn.BatchNorm3d(c2), nn.ReLU(inplace=True))
        self.conv2x = _stage(c2, c2, 1, depth)
        self.conv3x = _stage(c2, c3, 2, depth)
        self.conv4x = _stage(c3, c4, 2, depth)
        self.conv5x = _stage(c4, c5, 2, depth)

    def stages(self, video_BCTHW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of conv2x … conv5x. Sides shrink by 2, 4, 8, 16 and time by 1, 2, 4, 8, rounding up."""
        x2 = self.conv2x(self.conv1(video_BCTHW))
        x3 = self.conv3x(x2)
        x4 = self.conv4x(x3)
        return x2, x3, x4, self.conv5x(x4)

    def forward(self, video_BCTHW: Tensor) -> Tensor:
        """features_BD by global max pooling over time and space."""
        return self.stages(video_BCTHW)[3].amax(dim=(2, 3, 4))
