"""A moment of a stored clip as something to look at: panorama, sound, and where the truth says the sounds come from.

Shapes: C = 3 colours or 4 FOA channels, H×W pixels, S samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsa.clips.clip import Clip
from avsa.clips.store import ClipStore
from avsa.data.decode import Planes, decode_audio, decode_video
from avsa.errors import UserError


@dataclass(frozen=True)
class Source:
    """A sounding object and its direction in radians."""

    name: str
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class Scene:
    """The middle of a clip; `sources` is None where no truth is known."""

    id: str
    panorama_CHW: Tensor  # uint8
    foa_CS: Tensor  # float32, about the same moment
    sample_rate: int
    sources: tuple[Source, ...] | None


def load_scene(store: ClipStore, clip: Clip, audio_s: float) -> Scene:
    """The middle frame of a clip and `audio_s` seconds of sound around it.

    Raises:
        UserError: the clip cannot be decoded.
    """
    frame = clip.frames // 2
    middle_s = frame / clip.fps
    samples = min(round(audio_s * clip.sample_rate), math.floor(clip.duration_s * clip.sample_rate))
    first = round(middle_s * clip.sample_rate) - samples // 2
    first = max(0, min(first, math.floor(clip.duration_s * clip.sample_rate) - samples))
    try:
        planes = decode_video(store.read(clip, "mp4"), frame, 1)
        foa_CS = decode_audio(store.read(clip, "flac"), first, samples)
    except ValueError as error:
        raise UserError(f"clip {clip.id}: {error}: run ingest again") from None
    sources = sounding(store.truth(clip), middle_s)
    return Scene(clip.id, rgb_frame(planes), torch.from_numpy(foa_CS), clip.sample_rate, sources)


def rgb_frame(planes: Planes) -> Tensor:
    """The first frame as uint8 RGB (3, H, W); chroma is repeated, which an eye does not see."""
    y_HW = planes.y_THW[0].astype(np.float32)
    uv_2HW = planes.uv_T2hw[0].astype(np.float32).repeat(2, axis=1).repeat(2, axis=2)
    affine_4HW = np.concatenate([y_HW[None], uv_2HW, np.ones_like(y_HW)[None]])
    rgb_CHW = np.einsum("cd,dhw->chw", planes.rgb_34, affine_4HW)
    return torch.from_numpy((rgb_CHW.clip(0, 1) * 255).round().astype(np.uint8))


def sounding(truth: dict[str, Any], time_s: float) -> tuple[Source, ...] | None:
    """Directions of the truth's sounding objects at the time nearest to `time_s`; None where it lists no objects."""
    times = truth.get("time_s") or []
    if "objects" not in truth or not times:
        return None
    nearest = min(range(len(times)), key=lambda i: abs(times[i] - time_s))
    return tuple(
        Source(str(item.get("class", "")), float(item["azimuth"][nearest]), float(item["elevation"][nearest]))
        for item in truth["objects"]
        if item.get("sounding") and item["azimuth"][nearest] is not None  # silent now
    )
