"""Perspective (gnomonic) crops of equirectangular video, and where to take them.

Shapes: B clips, K viewpoints, T frames, C channels, H×W panorama pixels, h×w crop pixels, N = h·w.
"""

import math

import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.sphere import direction_to_pixel

MODES = ("bilinear", "nearest")


def perspective(
    video_TCHW: Tensor,
    azimuth_K: Tensor,
    elevation_K: Tensor,
    fov_K: Tensor,
    size: int | tuple[int, int],
    *,
    aspect_K: Tensor | None = None,
    mode: str = "bilinear",
    mirror_K: Tensor | None = None,
) -> Tensor:
    """Perspective crops `video_KTCHW` of one panoramic video: `perspective_batch` for a single clip."""
    aspect_BK = None if aspect_K is None else aspect_K[None]
    mirror_BK = None if mirror_K is None else mirror_K[None]
    return perspective_batch(
        video_TCHW[None], azimuth_K[None], elevation_K[None], fov_K[None], size,
        aspect_BK=aspect_BK, mode=mode, mirror_BK=mirror_BK,
    )[0]  # fmt: skip


def perspective_batch(
    video_BTCHW: Tensor,
    azimuth_BK: Tensor,
    elevation_BK: Tensor,
    fov_BK: Tensor,
    size: int | tuple[int, int],
    *,
    aspect_BK: Tensor | None = None,
    mode: str = "bilinear",
    mirror_BK: Tensor | None = None,
) -> Tensor:
    """Perspective crops `video_BKTCHW` of panoramic videos, K per clip, by gnomonic projection.

    Args:
        video_BTCHW: equirectangular frames (any aspect ratio), uint8 or floating point; the result has the same dtype,
            uint8 rounded to the nearest grey level.
        azimuth_BK, elevation_BK: the crops' centres in radians.
        fov_BK: true horizontal angle between a crop's left and right edge (not its outer pixel centres), in (0, π).
        size: crop height and width in pixels; one number for a square.
        aspect_BK: tan(horizontal fov/2) / tan(vertical fov/2); by default width / height, that is square pixels.
        mode: "bilinear", or "nearest" for label maps (then any dtype).
        mirror_BK: where true, the crop is flipped left-right; its audio then needs `avsa.ambisonics.foa.mirror`.

    Left and right edge of the panorama are joined; beyond a pole sampling goes on at azimuth + π.

    Raises:
        UserError: unknown mode, or a field of view outside (0, π).
    """
    if mode not in MODES:
        raise UserError(f"crop mode {mode!r} is unknown: use one of {', '.join(MODES)}")
    height, width = (size, size) if isinstance(size, int) else size
    H, W = video_BTCHW.shape[-2:]
    aspect = torch.full_like(fov_BK, width / height) if aspect_BK is None else aspect_BK
    azimuth_BKN, elevation_BKN = crop_directions(azimuth_BK, elevation_BK, fov_BK, aspect, height, width, mirror_BK)
    u_BKN, v_BKN = direction_to_pixel(azimuth_BKN, elevation_BKN, H, W)
    sample = _bilinear if mode == "bilinear" else _nearest
    crops = torch.stack([sample(video, u, v) for video, u, v in zip(video_BTCHW, u_BKN, v_BKN, strict=True)])
    return crops.movedim(-2, 1).reshape(*azimuth_BK.shape, *video_BTCHW.shape[1:3], height, width)


def crop_directions(
    azimuth_BK: Tensor,
    elevation_BK: Tensor,
    fov_BK: Tensor,
    aspect_BK: Tensor,
    height: int,
    width: int,
    mirror_BK: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation, each (B, K, h·w), that crop pixels look at (arguments: `perspective_batch`)."""
    if not bool(((fov_BK > 0) & (fov_BK < math.pi)).all()):
        raise UserError("a crop's fov must lie between 0 and π radians (180°)")
    half_BK1 = torch.tan(fov_BK / 2)[..., None]
    across_w = 1 - 2 * (torch.arange(width, device=fov_BK.device, dtype=fov_BK.dtype) + 0.5) / width
    down_h = 1 - 2 * (torch.arange(height, device=fov_BK.device, dtype=fov_BK.dtype) + 0.5) / height
    if mirror_BK is None:
        left_BKw = half_BK1 * across_w
    else:
        left_BKw = half_BK1 * torch.where(mirror_BK[..., None], -across_w, across_w)
    up_BKh = half_BK1 / aspect_BK[..., None] * down_h
    # Camera rays are (1, left, up); R_z(φ)·R_y(−θ) turns them to the crop's centre.
    cos_BK1, sin_BK1 = torch.cos(elevation_BK)[..., None], torch.sin(elevation_BK)[..., None]
    forward_BKh1 = (cos_BK1 - up_BKh * sin_BK1)[..., None]
    z_BKh1 = (sin_BK1 + up_BKh * cos_BK1)[..., None]
    left_BK1w = left_BKw[..., None, :]
    azimuth = torch.atan2(left_BK1w, forward_BKh1) + azimuth_BK[..., None, None]
    elevation = torch.atan2(z_BKh1, torch.hypot(forward_BKh1, left_BK1w))
    return azimuth.flatten(-2), elevation.flatten(-2)


def _nearest(video_TCHW: Tensor, u_KN: Tensor, v_KN: Tensor) -> Tensor:
    H, W = video_TCHW.shape[-2:]
    column = torch.round(u_KN).long() % W
    row = torch.round(v_KN).long().clamp(0, H - 1)
    return video_TCHW.flatten(-2)[..., row * W + column]


def _bilinear(video_TCHW: Tensor, u_KN: Tensor, v_KN: Tensor) -> Tensor:
    H, W = video_TCHW.shape[-2:]
    left, top = torch.floor(u_KN), torch.floor(v_KN)
    right_weight, bottom_weight = u_KN - left, v_KN - top
    column, row = left.long(), top.long()
    pixels = video_TCHW.flatten(-2)
    work = pixels.dtype if pixels.is_floating_point() else u_KN.dtype

    def line(row: Tensor) -> Tensor:
        # Beyond a pole: the same row again, half a turn on.
        turned = column + torch.where((row < 0) | (row >= H), W // 2, 0)
        start = row.clamp(0, H - 1) * W
        near = pixels[..., start + turned % W].to(work)
        return torch.lerp(near, pixels[..., start + (turned + 1) % W].to(work), right_weight.to(work))

    crop = torch.lerp(line(row), line(row + 1), bottom_weight.to(work))
    return crop if pixels.is_floating_point() else crop.round_().to(pixels.dtype)
