"""First-order ambisonics in AmbiX form: ACN channel order W, Y, Z, X and SN3D normalisation.

A plane wave s from (φ, θ) is W = s, Y = s sinφ cosθ, Z = s sinθ, X = s cosφ cosθ. Angles and axes:
`avsa.geometry.sphere`. Rotating, mirroring and converting are 4×4 matrices on the channels. Source: Nachbar et al.,
"AmbiX – a suggested ambisonics format", Ambisonics Symposium 2011.

Recordings come in other orders and normalisations, which `to_acn_sn3d` converts:

| order          | channels                                                                              |
| -------------- | ------------------------------------------------------------------------------------- |
| `acn-sn3d`     | W, Y, Z, X                                                                            |
| `acn-n3d`      | W, √3·Y, √3·Z, √3·X                                                                   |
| `fuma`         | W/√2, X, Y, Z: traditional B-format (Malham, "Higher order ambisonic systems", 2003)  |
| `youtube-aac6` | X, Y, W, a, Z, b: YouTube's 6-channel AAC as FFmpeg decodes it to 5.1 (FL, FR, FC,    |
|                | LFE, BL, BR). The stream itself, in AAC's order C, L, R, Ls, Rs, LFE, is W, X, Y, Z,  |
|                | b, a. a and b are no part of the sound field: head-locked stereo, or silence          |
| `youtube-aac4` | X, Y, W, Z: the same mixed to 4.0 (FL, FR, FC, BC), as seen in published YT-360 clips |

YouTube documents neither of its two. They are what the authors of YT-360 used for format 327
(github.com/pedro-morgado/spatialaudiogen, scraping/preprocess.py) and what others heard to be right on an upload made
for the purpose (github.com/shanwangshan/YT360-order); SN3D levels are assumed.

Shapes: C = 4 channels (6 for `youtube-aac6`), S samples, `...` any leading shape.
"""

import math
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.sphere import Angle, as_angles, direction_to_vector

Samples = npt.NDArray[np.floating]

# For each order: (its channel, gain) that gives W, Y, Z, X.
_SOURCES: dict[str, tuple[int, tuple[tuple[int, float], ...]]] = {
    "acn-sn3d": (4, ((0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0))),
    "acn-n3d": (4, ((0, 1.0), (1, 1 / math.sqrt(3)), (2, 1 / math.sqrt(3)), (3, 1 / math.sqrt(3)))),
    "fuma": (4, ((0, math.sqrt(2)), (2, 1.0), (3, 1.0), (1, 1.0))),
    "youtube-aac6": (6, ((2, 1.0), (1, 1.0), (4, 1.0), (0, 1.0))),
    "youtube-aac4": (4, ((2, 1.0), (1, 1.0), (3, 1.0), (0, 1.0))),
}
ORDERS = tuple(_SOURCES)

_YZX = (1, 2, 0)  # where the axes x, y, z stand among the channels Y, Z, X


def steering(azimuth: Angle, elevation: Angle) -> Tensor:
    """Gains (..., 4) of W, Y, Z, X for a plane wave from that direction."""
    xyz = direction_to_vector(azimuth, elevation)
    return torch.cat((torch.ones_like(xyz[..., :1]), xyz[..., _YZX]), dim=-1)


@overload
def encode(signal_S: Tensor, azimuth: Angle, elevation: Angle) -> Tensor: ...
@overload
def encode(signal_S: Samples, azimuth: Angle, elevation: Angle) -> Samples: ...
def encode(signal_S: Tensor | Samples, azimuth: Angle, elevation: Angle) -> Tensor | Samples:
    """A plane wave from one direction, or from one direction per sample (a moving source), as `foa_4S`.

    Args:
        signal_S: the source's samples; leading axes (..., S) are allowed and come out as (..., 4, S).
        azimuth, elevation: radians, numbers or arrays that broadcast to the signal's shape.

    Returns:
        An array for an array, a tensor for a tensor, of the signal's dtype.
    """
    if isinstance(signal_S, np.ndarray):
        encoded: Samples = encode(torch.from_numpy(signal_S), azimuth, elevation).numpy()
        return encoded
    gains = steering(*(torch.as_tensor(a, dtype=signal_S.dtype, device=signal_S.device) for a in (azimuth, elevation)))
    if gains.ndim == 1:
        return signal_S.unsqueeze(-2) * gains[:, None]
    return signal_S.unsqueeze(-2) * gains.transpose(-1, -2)


def rotation(matrix_33: Tensor) -> Tensor:
    """The 4×4 channel matrix (..., 4, 4) of an orthogonal 3×3 matrix (..., 3, 3) on (x, y, z); reflections too."""
    matrix = matrix_33.new_zeros((*matrix_33.shape[:-2], 4, 4))
    matrix[..., 0, 0] = 1
    matrix[..., 1:, 1:] = matrix_33[..., _YZX, :][..., :, _YZX]
    return matrix


def turn_to(azimuth: Angle, elevation: Angle) -> Tensor:
    """The matrix (..., 4, 4) that brings the direction (φ, θ) straight ahead and keeps the horizon level:
    R_y(θ)·R_z(−φ) on (x, y, z), the audio that belongs to the crop at (φ, θ)."""
    phi, theta = as_angles(azimuth, elevation)
    cos_phi, sin_phi, cos_theta, sin_theta = torch.cos(phi), torch.sin(phi), torch.cos(theta), torch.sin(theta)
    zero = torch.zeros_like(phi)
    rows = (
        (cos_theta * cos_phi, cos_theta * sin_phi, sin_theta),
        (-sin_phi, cos_phi, zero),
        (-sin_theta * cos_phi, -sin_theta * sin_phi, cos_theta),
    )
    return rotation(torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2))


def yaw(angle: Angle) -> Tensor:
    """The matrix (..., 4, 4) that turns the scene to the left: a source at azimuth φ moves to φ + angle."""
    (angles,) = as_angles(angle)
    return turn_to(-angles, torch.zeros_like(angles))


def mirror(*, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """The 4×4 matrix that swaps left and right: Y → −Y. It belongs to a crop flipped left-right."""
    return torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], device=device, dtype=dtype))


def rotate(foa_CS: Tensor, matrix_44: Tensor) -> Tensor:
    """Sound (..., 4, S) under channel matrices (..., 4, 4); leading axes broadcast."""
    return matrix_44.to(foa_CS.dtype) @ foa_CS


@overload
def to_acn_sn3d(sound_CS: Tensor, order: str) -> Tensor: ...
@overload
def to_acn_sn3d(sound_CS: Samples, order: str) -> Samples: ...
def to_acn_sn3d(sound_CS: Tensor | Samples, order: str) -> Tensor | Samples:
    """Sound (..., C, S) in one of `ORDERS` as `foa_4S` in ACN/SN3D; of a 6-channel order the other two are dropped.

    Raises:
        UserError: unknown order, or another number of channels than the order has.
    """
    if isinstance(sound_CS, np.ndarray):
        converted: Samples = to_acn_sn3d(torch.from_numpy(sound_CS), order).numpy()
        return converted
    channels, sources = _look_up(order)
    if sound_CS.ndim < 2 or sound_CS.shape[-2] != channels:
        found = sound_CS.shape[-2] if sound_CS.ndim > 1 else 1
        raise UserError(f"channel order {order} has {channels} channels, the sound has {found}: give its real order")
    return torch.stack([gain * sound_CS[..., channel, :] for channel, gain in sources], dim=-2)


@overload
def from_acn_sn3d(foa_CS: Tensor, order: str) -> Tensor: ...
@overload
def from_acn_sn3d(foa_CS: Samples, order: str) -> Samples: ...
def from_acn_sn3d(foa_CS: Tensor | Samples, order: str) -> Tensor | Samples:
    """The inverse of `to_acn_sn3d`; head-locked channels are silent.

    Raises:
        UserError: unknown order.
    """
    if isinstance(foa_CS, np.ndarray):
        converted: Samples = from_acn_sn3d(torch.from_numpy(foa_CS), order).numpy()
        return converted
    channels, sources = _look_up(order)
    sound_CS = foa_CS.new_zeros((*foa_CS.shape[:-2], channels, foa_CS.shape[-1]))
    for acn, (channel, gain) in enumerate(sources):
        sound_CS[..., channel, :] = foa_CS[..., acn, :] / gain
    return sound_CS


def _look_up(order: str) -> tuple[int, tuple[tuple[int, float], ...]]:
    if order not in _SOURCES:
        raise UserError(f"channel order {order!r} is unknown: use one of {', '.join(ORDERS)}")
    return _SOURCES[order]
