"""Convolutional audio encoder on log-mel spectra.

Shapes: B clips, C channels, T time steps, M mel bins, D features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBlock(nn.Module):
    """Two 3×3 convolutions, each with batch norm and ReLU; no shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCTM: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x_BCTM)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


class AudioConv2D(nn.Module):
    """Nine-layer Conv2D network (the supplement of Morgado et al. 2020); 512·width features come out."""

    def __init__(self, in_channels: int = 4, width: float = 1.0) -> None:
        super().__init__()
        c1, c2, c3, c4 = (int(channels * width) for channels in (64, 128, 256, 512))
        self.features = c4
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, c1, 7, 2, 3, bias=False), nn.BatchNorm2d(c1), nn.ReLU(inplace=True)
        )
        self.block1 = ConvBlock(c1, c1, 1)
        self.block2 = ConvBlock(c1, c2, 2)
        self.block3 = ConvBlock(c2, c3, 2)
        self.block4 = ConvBlock(c3, c4, 1)

    def forward(self, audio_BCTM: Tensor) -> Tensor:
        """features_BD by global max pooling over time and mel bins."""
        x: Tensor = self.conv1(audio_BCTM.contiguous(memory_format=torch.channels_last))
        x = self.block4(self.block3(self.block2(self.block1(x))))
        return x.amax(dim=(2, 3))
