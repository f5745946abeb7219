"""Audio-visual spatial alignment: self-supervised learning from 360° video with first-order ambisonics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avsa.models.network import AVSANetwork


def load(path: str | Path) -> AVSANetwork:
    """A trained network, ready to use: of a checkpoint of this project, or of a published one as it is.

    >>> network = avsa.load("checkpoints/avsa-0/network.pt")    # or avsa.load("checkpoint.pth.tar")
    >>> video_BD = network.video(video_BCTHW)                   # B×3×8×112×112 -> B×512
    >>> audio_BD = network.audio(audio_BCTM)                    # B×4×100×128 -> B×512
    >>> audio_of_video_BKD, video_of_audio_BKD = network.translate(video_BKD, audio_BKD)

    ``video`` takes crops in RGB from 0 to 1, less ImageNet's mean, over its standard deviation (channels, frames,
    height, width). ``audio`` takes log-mel spectra (channels, frames, mel bins) as the network was trained on them,
    normalised with the training split's statistics. ``translate`` takes the features of the K viewpoints of each clip
    and gives the audio features predicted from the video's and the video features predicted from the audio's. All of it
    comes out of :class:`avsa.data.views.Views` for clips of a store. The heads of pre-training are the modules
    ``video_head`` and ``audio_head`` for encoder features, ``audio_pred_head`` and ``video_pred_head`` for predicted
    ones.

    The network is on the CPU and in evaluation mode; it is a :class:`torch.nn.Module`, so move it with ``.to("cuda")``
    and use it under ``torch.inference_mode()``. What the checkpoint does not hold raises :class:`avsa.errors.UserError`
    when it is asked for, such as the translators of a checkpoint of instance discrimination.

    Raises:
        UserError: no such file, damaged, neither kind of checkpoint, or a tensor too many, missing or of another shape.
    """
    from avsa.models import convert

    return convert.load(Path(path))
