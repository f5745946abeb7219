"""Perspective crops of panoramas in 4:2:0 planes, converted to RGB after cropping: the panorama's pixels never are.

Shapes: B rows, K crops, T frames, C planes, H×W luma and h×w = H/2 × W/2 chroma pixels, P pixels of a crop.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def crop_rgb(y_BTHW: Tensor, uv_BT2hw: Tensor, rgb_B34: Tensor, azimuth_BKP: Tensor, elevation_BKP: Tensor) -> Tensor:
    """RGB in [0, 1] as `crop_B3TKP` at the directions, by bilinear interpolation of luma and chroma.

    Chroma pixels lie in the middle of their four luma pixels, where FFmpeg's scaler puts and looks for them.

    Args:
        rgb_B34: (R, G, B) = rgb_B34 · (Y', Cb, Cr, 1), then clamped.
        azimuth_BKP, elevation_BKP: what the crops' pixels look at (`avsa.geometry.crops.crop_directions`).
    """
    B, _, H, W = y_BTHW.shape
    # Two pixels of luma around the panorama and one of chroma: so one grid serves both.
    turns = azimuth_BKP / (-2 * math.pi)
    grid_BKP2 = torch.empty((*turns.shape, 2), device=turns.device)
    torch.mul(turns.sub_(torch.round(turns)), 2 * W / (W + 4), out=grid_BKP2[..., 0])
    torch.mul(elevation_BKP, -2 / math.pi * H / (H + 4), out=grid_BKP2[..., 1])
    y_BTKP = _sample(_framed(y_BTHW, 2), grid_BKP2)
    uv_B2TKP = _sample(_framed(uv_BT2hw.transpose(1, 2).flatten(1, 2), 1), grid_BKP2)
    rgb = torch.baddbmm(rgb_B34[:, :, 3:], rgb_B34[:, :, :1], y_BTKP.view(B, 1, -1))
    rgb.baddbmm_(rgb_B34[:, :, 1:3], uv_B2TKP.view(B, 2, -1)).clamp_(0, 1)
    return rgb.view(B, 3, *y_BTKP.shape[1:])


def _framed(image_BCHW: Tensor, border: int) -> Tensor:
    """As float with a border of what lies there on the sphere: the other edge, or beyond a pole half a turn on."""
    B, C, H, W = image_BCHW.shape
    framed = torch.empty((B, C, H + 2 * border, W + 2 * border), device=image_BCHW.device)
    inner = framed[..., border : border + W]
    inner[..., border : border + H, :] = image_BCHW
    inner[..., :border, :] = image_BCHW[..., :border, :].flip(-2).roll(W // 2, -1)
    inner[..., border + H :, :] = image_BCHW[..., H - border :, :].flip(-2).roll(W // 2, -1)
    framed[..., :border], framed[..., border + W :] = inner[..., W - border :], inner[..., :border]
    return framed


def _sample(framed_BCHW: Tensor, grid_BKP2: Tensor) -> Tensor:
    return F.grid_sample(framed_BCHW, grid_BKP2, mode="bilinear", padding_mode="border", align_corners=False)
