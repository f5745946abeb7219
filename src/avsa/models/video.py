"""R(2+1)D video encoder.

Shapes: B clips, C channels, T frames, H×W pixels, D features.

Every convolution keeps the parameter shape of a Conv3d but runs as a Conv2d on a view. In `channels_last_3d` memory
(B, T, H, W, C) the frames [B·T, C, H, W] and the columns [B, C, T, H·W] are both ordinary `channels_last` images, so
neither view copies, and the two-dimensional kernels are the faster and, in bf16 on the CPU, the sound ones.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VideoDepth = Literal[10, 18]


class SpatialConv(nn.Conv3d):
    """A 1×k×k convolution without bias; a stride in time skips frames."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: tuple[int, int, int]) -> None:
        super().__init__(
            in_channels, out_channels, (1, kernel, kernel), stride, (0, kernel // 2, kernel // 2), bias=False
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        x_BTCHW = x_BCTHW[:, :, :: self.stride[0]].transpose(1, 2)
        y = F.conv2d(x_BTCHW.flatten(0, 1), self.weight.squeeze(2), None, self.stride[1:], self.padding[1:])
        return y.view(*x_BTCHW.shape[:2], *y.shape[1:]).transpose(1, 2)


class TemporalConv(nn.Conv3d):
    """A 3×1×1 convolution without bias."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        y = F.conv2d(x_BCTHW.flatten(3), self.weight.squeeze(4), None, (self.stride[0], 1), (1, 0))
        return y.view(*y.shape[:3], *x_BCTHW.shape[3:])


class StemConv(nn.Conv3d):
    """The 3×7×7 convolution with stride 1×2×2 that opens the network; three neighbouring frames act as 3·C channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        B, _, T, _, _ = x_BCTHW.shape
        padded_BTCHW = F.pad(x_BCTHW.transpose(1, 2), (0, 0, 0, 0, 0, 0, 1, 1))
        neighbours = torch.cat([padded_BTCHW[:, lag : lag + T] for lag in range(3)], dim=2).flatten(0, 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        y = F.conv2d(neighbours.contiguous(memory_format=torch.channels_last), weight, None, (2, 2), (3, 3))
        return y.view(B, T, *y.shape[1:]).transpose(1, 2)


class R2Plus1DBlock(nn.Module):
    """Two (spatial, temporal) convolution pairs and a shortcut; one batch norm acts on the sum of both branches."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.spt_conv1 = SpatialConv(in_channels, channels, 3, (1, stride, stride))
        self.spt_bn1 = nn.BatchNorm3d(channels)
        self.tmp_conv1 = TemporalConv(channels, stride)
        self.tmp_bn1 = nn.BatchNorm3d(channels)
        self.spt_conv2 = SpatialConv(channels, channels, 3, (1, 1, 1))
        self.spt_bn2 = nn.BatchNorm3d(channels)
        self.tmp_conv2 = TemporalConv(channels, 1)
        self.out_bn = nn.BatchNorm3d(channels)
        if stride != 1 or in_channels != channels:
            self.res_conv: nn.Module = SpatialConv(in_channels, channels, 1, (stride, stride, stride))
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

    `width` scales every channel count: 512·width features come out. Any T ≥ 1 and frames of at least 8 pixels work.
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
