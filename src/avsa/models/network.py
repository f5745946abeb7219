"""The whole pre-training network: two encoders, two translators, four projection heads.

Shapes: B clips, K viewpoints, C channels, T time, H×W pixels, M mel bins, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsa.errors import UserError
from avsa.models.audio import AudioConv2D
from avsa.models.heads import ProjectionHead
from avsa.models.translator import Translator, TranslatorKind
from avsa.models.video import VideoDepth, VideoR2Plus1D


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that decides the shapes of an AVSANetwork; the defaults are the paper's."""

    video_depth: VideoDepth = 18
    video_width: float = 1.0
    audio_width: float = 1.0
    audio_channels: int = 4
    translator: TranslatorKind = "transformer"
    translator_depth: int = 2
    translator_expansion: int = 4
    translator_heads: int = 1
    translator_dropout: float = 0.1
    translator_final_relu: bool = True
    head_dim: int = 128


class AVSANetwork(nn.Module):
    """Encoders, translators and heads; which of them a step uses is the objective's choice.

    `video_head` and `audio_head` act on encoder features. `audio_pred_head` acts on the audio predicted from video,
    `video_pred_head` on the video predicted from audio. Attribute names follow the published checkpoints.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.video_model = VideoR2Plus1D(spec.video_depth, spec.video_width)
        self.audio_model = AudioConv2D(spec.audio_channels, spec.audio_width)
        self.video_dim, self.audio_dim = self.video_model.features, self.audio_model.features
        self.v2a_transformer = self._translator(self.video_dim)
        self.a2v_transformer = self._translator(self.audio_dim)
        self.video_head = ProjectionHead(self.video_dim, spec.head_dim)
        self.audio_head = ProjectionHead(self.audio_dim, spec.head_dim)
        self.video_pred_head = ProjectionHead(self.audio_dim, spec.head_dim)
        self.audio_pred_head = ProjectionHead(self.video_dim, spec.head_dim)

    def _translator(self, dim: int) -> Translator:
        spec = self.spec
        return Translator(
            spec.translator,
            dim,
            spec.translator_depth,
            spec.translator_expansion,
            spec.translator_heads,
            spec.translator_dropout,
            spec.translator_final_relu,
        )

    def video(self, video_BCTHW: Tensor) -> Tensor:
        """features_BD of video crops."""
        return self.video_model(video_BCTHW)  # type: ignore[no-any-return]

    def video_maps(self, video_BCTHW: Tensor) -> list[Tensor]:
        """The four stages' maps, finest first."""
        return list(self.video_model.stages(video_BCTHW))

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        """features_BD of audio crops."""
        return self.audio_model(audio_BCTM)  # type: ignore[no-any-return]

    def translate(self, video_BKD: Tensor, audio_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """(audio predicted from video, video predicted from audio); each keeps the shape of what it was made from."""
        return self.v2a_transformer(video_BKD), self.a2v_transformer(audio_BKD)


def build_network(spec: NetworkSpec, seed: int) -> AVSANetwork:
    """A network on the CPU in PyTorch's default initialisation (the paper names none), the same for the same seed.

    The global random state is neither read nor changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return AVSANetwork(spec)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load every tensor of `state` into `module`; nothing may be missing, left over or of another shape.

    `where` names the checkpoint in the message. Raises UserError, and leaves the module untouched, on any mismatch.
    """
    if faults := mismatches(module.state_dict(), state):
        raise UserError(
            f"{where}: checkpoint of another architecture: {faults}; use the model settings it was trained with"
        )
    module.load_state_dict(state)


def mismatches(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How `state` differs from `own` in names and shapes: the first three faults in one line, empty if it does not."""
    faults = [
        f"{name} is {'missing' if name not in state else _shape(state[name])}, expected {_shape(tensor)}"
        for name, tensor in own.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    faults += [f"{name} {_shape(tensor)} is unknown" for name, tensor in state.items() if name not in own]
    return "; ".join(faults[:3]) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"
