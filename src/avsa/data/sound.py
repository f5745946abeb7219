"""The sound that belongs to crops: which features of how much of it, and how it is turned.

Shapes: `...` any leading shape.
"""

import torch
from torch import Tensor

from avsa import config
from avsa.ambisonics.foa import turn_to
from avsa.ambisonics.released import released_turn_to
from avsa.features import AudioFeatures


def audio_samples(views: config.Views, sample_rate: int) -> int:
    """Samples in a row's sound."""
    return round(views.audio_s * sample_rate)


def audio_features(views: config.Views, audio: config.Audio, sample_rate: int) -> AudioFeatures:
    """The features of a row's sound: one frame per hop."""
    return AudioFeatures(
        sample_rate=sample_rate,
        window=audio.window,
        hop=audio.hop,
        mels=audio.mels,
        frames=audio_samples(views, sample_rate) // audio.hop,
        kind=audio.kind,
        scale=audio.scale,
    )


def crop_rotation(azimuth: Tensor, elevation: Tensor, mirrored: Tensor, rule: str = "paper") -> Tensor:
    """Channel matrices (..., 4, 4) of the sound of crops: turned to the crop, then mirrored where the crop is.

    Rule "released" turns as published checkpoints were trained, past the crop, and never mirrors.
    """
    if rule == "released":
        return released_turn_to(azimuth, elevation)
    rotation = turn_to(azimuth, elevation)
    rotation[..., 1, :] *= torch.where(mirrored, -1.0, 1.0)[..., None]  # `avsa.ambisonics.foa.mirror`: Y → −Y
    return rotation
