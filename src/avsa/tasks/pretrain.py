"""Self-supervised pre-training: one batch to the loss of one pretext objective.

Shapes: N rows (clips × moments), K viewpoints, D features, and as in :mod:`avsa.models`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from avsa.config import Audio, Model
from avsa.losses import ContrastiveObjective
from avsa.models.network import AVSANetwork, NetworkSpec

if TYPE_CHECKING:  # the task needs no decoder to be imported
    from avsa.data.batch import Batch
    from avsa.data.views import Views

AUDIO_CHANNELS = {"mono": 1, "stereo": 2, "ambisonics": 4, "ambisonics+intensity": 7}
MOMENTS = 1 << 16
"""More than the moments of one clip in a batch."""


def network_spec(model: Model, audio: Audio) -> NetworkSpec:
    """The network that the configuration describes."""
    return NetworkSpec(
        video_depth=model.video_depth,
        video_width=model.width,
        audio_width=model.width,
        audio_channels=AUDIO_CHANNELS[audio.kind],
        translator=model.translator.kind,
        translator_depth=model.translator.depth,
        translator_expansion=model.translator.expansion,
        translator_heads=model.translator.heads,
        translator_dropout=model.translator.dropout,
        head_dim=model.head_dim,
    )


def encode(network: AVSANetwork, video_NKCTHW: Tensor, audio_NKCTM: Tensor) -> tuple[Tensor, Tensor]:
    """Features (video_NKD, audio_NKD) of all crops."""
    rows = video_NKCTHW.shape[:2]
    video = network.video(video_NKCTHW.flatten(0, 1)).unflatten(0, rows)
    return video, network.audio(audio_NKCTM.flatten(0, 1)).unflatten(0, rows)


class PretrainTask:
    """A network under one objective; satisfies the engine's task protocol."""

    def __init__(self, network: AVSANetwork, views: Views, objective: ContrastiveObjective) -> None:
        self.model = network
        self.views = views
        self.objective = objective

    def trained(self) -> Iterator[nn.Parameter]:
        """All parameters, without the translators and their heads where the objective does not use them."""
        model = self.model
        idle = (model.v2a_transformer, model.a2v_transformer, model.audio_pred_head, model.video_pred_head)
        unused = {id(parameter) for module in idle for parameter in module.parameters()}
        if self.objective.objective.translated:
            unused = set()
        return (parameter for parameter in model.parameters() if id(parameter) not in unused)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, metrics): accuracies among all candidates and, for several crops, among the clip's own."""
        video_NKD, audio_NKD = encode(self.model, *self.views(batch))
        # A video is a whole recording: its other clips are other moments of it, never other videos.
        moment_N = batch.clip_N * MOMENTS + batch.moment_N
        return self.objective(self.model, video_NKD, audio_NKD, batch.source_N, moment_N)
