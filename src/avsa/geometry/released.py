"""The perspective crops that published checkpoints were trained with, errors included. Nothing but such a checkpoint
wants them; `avsa.geometry.crops` is right.

They differ in four ways: the half-width of the tangent plane is fov/2 instead of tan(fov/2), so a nominal 90° spans
76°; pixel grids, of the crop and of the panorama, start on the edge, so crops are half a pixel off centre; azimuths are
rounded to whole panorama columns; and centres lie within ±30° of elevation, however near to each other.

Shapes: K viewpoints, T frames, C channels, H×W panorama pixels, n×n crop pixels.
"""

import math

import torch
from torch import Tensor

from avsa.geometry.crops import CropSampler

CENTRE_DOWN = (0.33, 0.66)
"""Range of the crops' centres, as fractions of the panorama's height from its top."""


class ReleasedCropSampler(CropSampler):
    """Draws crops whose centres are uniform in azimuth and in `CENTRE_DOWN`: elevation and distance are not ruled."""

    def _centres(self, generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        right, down = torch.rand((2, batch, self.crops), generator=generator, device=generator.device)
        down = CENTRE_DOWN[0] + (CENTRE_DOWN[1] - CENTRE_DOWN[0]) * down
        return (1 - 2 * right) * math.pi, (0.5 - down) * math.pi


def released_perspective(
    video_TCHW: Tensor,
    azimuth_K: Tensor,
    elevation_K: Tensor,
    fov_K: Tensor,
    size: int,
    aspect_K: Tensor | None = None,
    mode: str = "bilinear",
) -> Tensor:
    """Crops `video_KTCHW` of size×size pixels as the published code makes them.

    The arguments are those of `avsa.geometry.crops.perspective`, but `fov_K` is nominal: the tangent plane is fov wide
    and fov/aspect high (square by default). Interpolation is bilinear, values are rounded; "nearest" is for label maps.
    """
    high_K = fov_K if aspect_K is None else fov_K / aspect_K
    viewpoints_K4 = torch.stack((azimuth_K, elevation_K, fov_K, high_K), dim=1).tolist()
    return torch.stack([_crop(video_TCHW, size, mode, *viewpoint_4) for viewpoint_4 in viewpoints_K4])


def _crop(
    video_TCHW: Tensor, size: int, mode: str, azimuth: float, elevation: float, wide: float, high: float
) -> Tensor:
    H, W = video_TCHW.shape[-2:]
    centre_x, centre_down = 0.5 - azimuth / (2 * math.pi), -elevation
    rolled = torch.roll(video_TCHW, int((0.5 - centre_x) * W), dims=-1)
    screen_n = 2 * torch.arange(size, dtype=torch.float64, device=video_TCHW.device) / size - 1
    down, right = torch.meshgrid(high / 2 * screen_n, wide / 2 * screen_n, indexing="ij")
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
    if mode == "nearest":
        return rolled[..., (v + 0.5).floor().long().clamp(0, H - 1), (u + 0.5).floor().long() % W]
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
