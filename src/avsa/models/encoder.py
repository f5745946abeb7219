"""What a network must offer to be measured: the protocol of encoders, and how one is named on the command line.

Shapes: B crops, K viewpoints of one clip, C channels, T time, H×W pixels, M mel bins, D features.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self, cast

import torch
from torch import Tensor, nn

from avsa import named
from avsa.errors import UserError


class Encoder(Protocol):
    """A :class:`torch.nn.Module` with the methods that the tasks call.

    ===============================  ==================================================================================
    task                             needs
    ===============================  ==================================================================================
    ``ucf101-N``, ``hmdb51-N``       ``video_dim``, ``video``; every parameter is trained
    ``segmentation``, video          ``video_maps``
    ``segmentation``, + audio        ``audio_dim``, ``audio`` besides
    ``segmentation``, + context      ``video_dim``, ``video``, ``translate`` besides
    ``avc-bin``, ``avsa-bin``        ``video_dim``, ``video``, ``audio_dim``, ``audio``
    the same, with translators       ``translate`` besides
    ===============================  ==================================================================================

    What a task does not need may be missing: :func:`require` says so in one line. Methods work in training and in
    evaluation mode, under autocast, and on any device that the module was moved to.

    Attributes:
        video_dim: D of ``video``.
        audio_dim: D of ``audio``.
    """

    video_dim: int
    audio_dim: int

    def video(self, video_BCTHW: Tensor) -> Tensor:
        """features_BD of crops: C = R, G, B in [0, 1], less ImageNet's mean, over its standard deviation
        (``avsa.data.views.PICTURE_MEAN``, ``PICTURE_STD``); T frames of H×W pixels as ``views`` says."""
        ...

    def video_maps(self, video_BCTHW: Tensor) -> list[Tensor]:
        """Four maps of the same crops, B×C×T×H×W, finest first; each side is half of the one before, rounded up. Any
        number of channels, any time."""
        ...

    def audio(self, audio_BCTM: Tensor) -> Tensor:
        """features_BD of audio features as ``audio`` says (C = 4 log-mel spectra for ambisonics, 7 with intensity; T
        frames), normalised per channel and mel bin with the data set's statistics."""
        ...

    def translate(self, video_BKD: Tensor, audio_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """(audio predicted from video, video predicted from audio) of K viewpoints together; each keeps the shape of
        what it was made from."""
        ...

    # What torch.nn.Module offers.

    def train(self, mode: bool = True) -> Self: ...

    def eval(self) -> Self: ...

    def to(self, device: torch.device) -> Self: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...


def require(encoder: Encoder, task: str, *needed: str) -> None:
    """Raises UserError where the encoder has no method or attribute of a name in ``needed``."""
    if missing := [name for name in needed if not hasattr(encoder, name)]:
        raise UserError(f"{task} needs {', '.join(missing)}, which the encoder {type(encoder).__name__} does not have")


def video_features(encoder: Encoder, video_BCTHW: Tensor) -> Tensor:
    """``encoder.video``; UserError where what comes back is not features_BD of ``encoder.video_dim``."""
    return _checked(encoder.video(video_BCTHW), len(video_BCTHW), encoder.video_dim, f"{type(encoder).__name__}.video")


def audio_features(encoder: Encoder, audio_BCTM: Tensor) -> Tensor:
    """``encoder.audio``, checked like :func:`video_features`."""
    return _checked(encoder.audio(audio_BCTM), len(audio_BCTM), encoder.audio_dim, f"{type(encoder).__name__}.audio")


def _checked(features_BD: Tensor, rows: int, dim: int, method: str) -> Tensor:
    if features_BD.shape != (rows, dim):
        shape = "×".join(map(str, features_BD.shape)) or "a scalar"
        raise UserError(f"{method} of {rows} crops gives {shape}: {rows}×{dim} features are expected")
    return features_BD


def is_encoder_name(name: str) -> bool:
    """Whether ``name`` is of the form ``package.module:function`` or ``package.module:function:argument``."""
    return ":" in name


def short_name(name: str) -> str:
    """What results call an encoder: its function, and the argument without suffix; fit for a file name.

    Of a path the last folder and the file: ``runs/a/best.pt`` and ``runs/b/best.pt`` are two.
    """
    _, function, argument = _parts(name)
    path = Path(argument)
    parts = (function, path.parent.name.strip("."), path.stem)
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts)))


def load_encoder(name: str) -> Encoder:
    """Call the function that ``package.module:function`` names; ``…:argument`` hands it one string.

    Modules are looked for in the current folder too.

    Raises:
        UserError: another form of name, no such module or function, or what comes back is no encoder.
    """
    encoder = named.call(_parts(name))
    if not isinstance(encoder, nn.Module) or not (hasattr(encoder, "video") or hasattr(encoder, "audio")):
        raise UserError(f"{name} returned {type(encoder).__name__}: a torch.nn.Module with video or audio is expected")
    return cast(Encoder, encoder)


def _parts(name: str) -> named.Named:
    parts = named.parse(name)
    if parts is None:
        raise UserError(f"{name}: an encoder is named package.module:function or package.module:function:argument")
    return parts


def identity(encoder: Encoder) -> str:
    """Hash of an encoder's weights, of its structure as printed, and of the files that its classes are written in."""
    digest = hashlib.sha256(repr(encoder).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    classes = {type(module) for module in cast(nn.Module, encoder).modules()}
    files = {file for one in classes if (file := getattr(sys.modules.get(one.__module__), "__file__", None))}
    for file in sorted(files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
