"""The conventions of directions on the sphere and of equirectangular pixels. Everything else cites this file.

Axes: right-handed, x forward, y left, z up. Azimuth φ = atan2(y, x) is positive to the left; elevation θ, the angle
above the horizon, is positive up. All angles are radians; names ending in `_deg` hold degrees and appear only at the
program's borders.

Equirectangular image of H×W pixels, whatever its aspect ratio: it spans 360°×180°. Pixel (u, v) is column u, row v, and
integers are pixel centres:

    φ = π (1 − 2 (u + ½) / W)        θ = (π/2) (1 − 2 (v + ½) / H)

so the image's middle, (W/2 − ½, H/2 − ½), is straight ahead and the left and right edges meet behind.

Shapes: H×W pixels; `...` any leading shape; the last axis of a vector is x, y, z.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Angle = float | Tensor | npt.NDArray[np.floating]
"""Radians: a number, a tensor or an array."""


def as_angles(*angles: Angle) -> tuple[Tensor, ...]:
    """The angles as floating-point tensors of one dtype and device, broadcast to one shape.

    Numbers adapt to the tensors they come with; arrays keep their precision.
    """
    tensors = [
        a if isinstance(a, Tensor) else torch.from_numpy(a) for a in angles if isinstance(a, (Tensor, np.ndarray))
    ]
    device = next((t.device for t in tensors if t.ndim), tensors[0].device if tensors else None)
    dtype = torch.get_default_dtype()
    if tensors:
        dtype = tensors[0].dtype
        for tensor in tensors[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
        dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    converted = [torch.as_tensor(a, dtype=dtype, device=device) for a in angles]
    return tuple(torch.broadcast_tensors(*converted))


def direction_to_vector(azimuth: Angle, elevation: Angle) -> Tensor:
    """Unit vectors (..., 3) = (cosφ cosθ, sinφ cosθ, sinθ)."""
    phi, theta = as_angles(azimuth, elevation)
    flat = torch.cos(theta)
    return torch.stack((torch.cos(phi) * flat, torch.sin(phi) * flat, torch.sin(theta)), dim=-1)


def vector_to_direction(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth in [−π, π] and elevation in [−π/2, π/2] of vectors (..., 3) of any length; 0 gives (0, 0)."""
    x, y, z = xyz.unbind(-1)
    return torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y))


def pixel_directions(
    height: int, width: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation, each H×W, of the pixel centres of an equirectangular image."""
    phi_W = math.pi * (
        1 - 2 * (torch.arange(width, device=device, dtype=dtype or torch.get_default_dtype()) + 0.5) / width
    )
    theta_H = math.pi / 2 * (1 - 2 * (torch.arange(height, device=device, dtype=phi_W.dtype) + 0.5) / height)
    return phi_W.expand(height, width), theta_H[:, None].expand(height, width)


def direction_to_pixel(azimuth: Angle, elevation: Angle, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Column u in [−½, W − ½) and row v in [−½, H − ½] of directions; integers are pixel centres. The inverse of
    `pixel_directions`; any azimuth is taken modulo 2π."""
    phi, theta = as_angles(azimuth, elevation)
    turns = 0.5 - phi / (2 * math.pi)
    return (turns - torch.floor(turns)) * width - 0.5, (0.5 - theta / math.pi) * height - 0.5


def angular_distance(azimuth: Angle, elevation: Angle, other_azimuth: Angle, other_elevation: Angle) -> Tensor:
    """Angle in [0, π] between two directions along the sphere (haversine: exact for small angles too)."""
    phi, theta, other_phi, other_theta = as_angles(azimuth, elevation, other_azimuth, other_elevation)
    between = torch.sin((theta - other_theta) / 2) ** 2
    around = torch.sin((phi - other_phi) / 2) ** 2
    haversine = between + torch.cos(theta) * torch.cos(other_theta) * around
    return 2 * torch.asin(torch.sqrt(haversine.clamp(0, 1)))
