"""The perspective crops that published checkpoints were trained with, errors included. Nothing but such a checkpoint
wants them; `avsa.geometry.crops` is right.

They differ in three ways: the half-width of the tangent plane is fov/2 instead of tan(fov/2), so a nominal 90° spans
76°; pixel grids, of the crop and of the panorama, start on the edge, so crops are half a pixel off centre; and azimuths
are rounded to whole panorama columns.

Shapes: K viewpoints, T frames, C channels, H×W panorama pixels, n×n crop pixels.
"""

import math

import torch
from torch import Tensor


def released_perspective(
    video_TCHW: Tensor, azimuth_K: Tensor, elevation_K: Tensor, fov_K: Tensor, size: int
) -> Tensor:
    """Square crops `video_KTCHW` as the published code makes them, of nominal field of view `fov_K` each way.

    The arguments are those of `avsa.geometry.crops.perspective`; interpolation is bilinear, values are rounded.
    """
    crops = [
        _crop(video_TCHW, float(azimuth), float(elevation), float(fov), size)
        for azimuth, elevation, fov in zip(azimuth_K, elevation_K, fov_K, strict=True)
    ]
    return torch.stack(crops)


def _crop(video_TCHW: Tensor, azimuth: float, elevation: float, fov: float, size: int) -> Tensor:
    H, W = video_TCHW.shape[-2:]
    centre_x, centre_down = 0.5 - azimuth / (2 * math.pi), -elevation
    rolled = torch.roll(video_TCHW, int((0.5 - centre_x) * W), dims=-1)
    screen_n = 2 * torch.arange(size, dtype=torch.float64, device=video_TCHW.device) / size - 1
    down, right = torch.meshgrid(fov / 2 * screen_n, fov / 2 * screen_n, indexing="ij")
    # Inverse gnomonic projection (Snyder, "Map projections: a working manual", 1987, section 22) around longitude 0.
    radius = torch.hypot(right, down)
    angle = torch.atan(radius)
    sine_per_radius = torch.where(radius > 0, torch.sin(angle) / radius, 1.0)
    latitude = torch.asin(torch.cos(angle) * math.sin(centre_down) + down * sine_per_radius * math.cos(centre_down))
    longitude = torch.atan2(
        right * sine_per_radius,
        math.cos(centre_down) * torch.cos(angle) - down * math.sin(centre_down) * sine_per_radius,
    )
    u, v = (longitude / (2 * math.pi) + 0.5) * W, (latitude / math.pi + 0.5) * H
    return _bilinear(rolled, u, v).round().to(video_TCHW.dtype)


def _bilinear(image_TCHW: Tensor, u: Tensor, v: Tensor) -> Tensor:
    H, W = image_TCHW.shape[-2:]
    left, top = torch.floor(u).long(), torch.floor(v).long()
    columns = [(left + i) % W for i in (0, 1)]
    rows = [(top + j).clamp(0, H - 1) for j in (0, 1)]
    upper, lower = (
        torch.lerp(image_TCHW[..., row, columns[0]].double(), image_TCHW[..., row, columns[1]].double(), u - left)
        for row in rows
    )
    return torch.lerp(upper, lower, v - top)
