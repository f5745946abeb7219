"""Perspective crops of panoramas in 4:2:0 planes, converted to RGB after cropping: the panorama's pixels never are.

Shapes: B rows, K crops, T frames, C planes, H×W luma and h×w = H/2 × W/2 chroma pixels, P pixels of a crop.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def crop_rgb(y_BTHW: Tensor, uv_BT2hw: Tensor, rgb_B34: Tensor, azimuth_BKP: Tensor, elevation_BKP: Tensor) -> Tensor:
    """RGB in [0, 1] as `crop_BK3TP` at the directions, by bilinear interpolation of luma and chroma.

    Chroma pixels lie in the middle of their four luma pixels, where FFmpeg's scaler puts and looks for them.

    Args:
        rgb_B34: (R, G, B) = rgb_B34 · (Y', Cb, Cr, 1), then clamped.
        azimuth_BKP, elevation_BKP: what the crops' pixels look at (`avsa.geometry.crops.crop_directions`).
    """
    B, T = y_BTHW.shape[:2]
    K, P = azimuth_BKP.shape[1:]
    crop_B3TKP = y_BTHW.new_empty((B, 3, T, K, P), dtype=azimuth_BKP.dtype)
    crop_B3TKP[:, 0] = sample_panorama(y_BTHW, azimuth_BKP, elevation_BKP)
    chroma = sample_panorama(uv_BT2hw.flatten(1, 2), azimuth_BKP, elevation_BKP)
    crop_B3TKP[:, 1:] = chroma.unflatten(1, (T, 2)).transpose(1, 2)
    rgb = torch.baddbmm(rgb_B34[:, :, 3:], rgb_B34[:, :, :3], crop_B3TKP.flatten(2)).clamp_(0, 1)
    return rgb.view(B, 3, T, K, P).permute(0, 3, 1, 2, 4)


def sample_panorama(image_BCHW: Tensor, azimuth_BKP: Tensor, elevation_BKP: Tensor) -> Tensor:
    """Bilinear samples `image_BCKP` of panoramas (any dtype) at directions, joined at the seam and across the poles."""
    B, C, H, W = image_BCHW.shape
    framed = image_BCHW.new_empty((B, C, H + 2, W + 2), dtype=azimuth_BKP.dtype)
    framed[..., 1:-1, 1:-1] = image_BCHW
    # Beyond a pole lies the same row half a turn on, beyond the seam the other edge.
    framed[..., 0, 1:-1] = image_BCHW[..., 0, :].roll(W // 2, -1)
    framed[..., -1, 1:-1] = image_BCHW[..., -1, :].roll(W // 2, -1)
    framed[..., 0], framed[..., -1] = framed[..., -2], framed[..., 1]
    turns = azimuth_BKP / (2 * torch.pi)
    turns = turns - torch.round(turns)  # in [−½, ½]
    grid_BKP2 = torch.stack((turns * (-2 * W / (W + 2)), elevation_BKP * (-2 / torch.pi * H / (H + 2))), -1)
    return F.grid_sample(framed, grid_BKP2, mode="bilinear", padding_mode="border", align_corners=False)
