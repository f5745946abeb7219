"""torchvision's R(2+1)D-18 as an encoder: the baseline supervised by Kinetics.

Tran et al., "A closer look at spatiotemporal convolutions for action recognition", CVPR 2018: with widened middle
planes, unlike the network of :mod:`avsa.models.video`.

Shapes: B crops, C channels, T frames, H×W pixels, D features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.video import R2Plus1D_18_Weights, VideoResNet
from torchvision.models.video import r2plus1d_18 as build

from avsa.errors import UserError
from avsa.models.checkpoint import read_checkpoint
from avsa.models.network import load_weights
from avsa.models.video import TemporalConv

# Mean and deviation of R, G, B: of ImageNet, as crops come; of Kinetics, as the weights expect them (torchvision's
# R2Plus1D_18_Weights.KINETICS400_V1.transforms()).
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class TorchvisionVideo(nn.Module):
    """A video encoder without sound. Its features are means over time and space, as its classifier was trained on."""

    video_dim = 512
    scale_C111: Tensor
    offset_C111: Tensor

    def __init__(self, network: VideoResNet) -> None:
        super().__init__()
        network.fc = nn.Identity()
        _temporal_convolutions_on_views(network)
        self.network = network
        (mean, std), (mean_to, std_to) = (torch.tensor(both)[..., None, None, None] for both in (IMAGENET, KINETICS))
        self.register_buffer("scale_C111", std / std_to, persistent=False)
        self.register_buffer("offset_C111", (mean - mean_to) / std_to, persistent=False)

    def _normalised(self, video_BCTHW: Tensor) -> Tensor:
        return torch.addcmul(self.offset_C111, video_BCTHW, self.scale_C111)

    def video(self, video_BCTHW: Tensor) -> Tensor:
        """features_BD of ImageNet-normalised crops."""
        return self.network(self._normalised(video_BCTHW))  # type: ignore[no-any-return]

    def video_maps(self, video_BCTHW: Tensor) -> list[Tensor]:
        """The maps of the four stages: 64, 128, 256, 512 channels, sides 1/2, 1/4, 1/8, 1/16."""
        maps = [self.network.stem(self._normalised(video_BCTHW))]
        for stage in (self.network.layer1, self.network.layer2, self.network.layer3, self.network.layer4):
            maps.append(stage(maps[-1]))
        return maps[1:]


def _temporal_convolutions_on_views(network: nn.Module) -> None:
    """The same weights under the same names; as they are, their gradients in bf16 on a CPU are not finite (torch 2.11,
    see :mod:`avsa.models.video`)."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d) and child.kernel_size == (3, 1, 1):
                convolution = TemporalConv(child.in_channels, child.out_channels, child.stride[0])
                convolution.weight = child.weight
                setattr(parent, name, convolution)


def r2plus1d_18(weights: str = "KINETICS400_V1") -> TorchvisionVideo:
    """The encoder with weights by torchvision's name (downloaded, or from its cache), by the path of a state dict (any
    number of classes), or ``random``: reproducible ones without training.

    Raises:
        UserError: neither a name nor a file, no connection, damaged, or a state dict of another network.
    """
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return TorchvisionVideo(build())
    encoder = TorchvisionVideo(build())
    load_weights(
        encoder.network, {name: x for name, x in _state(weights).items() if not name.startswith("fc.")}, weights
    )
    return encoder


def _state(weights: str) -> dict[str, Tensor]:
    names = list(R2Plus1D_18_Weights.__members__)
    if weights in names:
        try:
            return dict(R2Plus1D_18_Weights[weights].get_state_dict(progress=True, check_hash=True))
        except Exception as error:  # no connection, another hash; a kept file that is damaged fails in any way
            reason = str(error).partition("\n")[0][:120]
            raise UserError(f"{R2Plus1D_18_Weights[weights].url}: cannot be downloaded and read ({reason}): fetch it "
                            "elsewhere and name the file, …:r2plus1d_18:FILE") from None  # fmt: skip
    if not Path(weights).exists():
        raise UserError(f"{weights}: no such file, and not one of {', '.join([*names, 'random'])}")
    state = read_checkpoint(Path(weights))
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{weights}: a state dict of tensors is expected: save network.state_dict()")
    return state
