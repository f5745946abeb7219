"""Crops as published checkpoints were trained on them, from decoded planes.

Shapes: B rows of a batch, K crops, T frames, C = 3 (R, G, B), H×W pixels, P pixels of a crop.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from avsa.data.batch import Batch
from avsa.geometry.released import released_perspective


def released_crop_rgb(batch: Batch, rows: slice, size: int) -> Tensor:
    """RGB in [0, 1] as `crop_BCTKP` of some rows: the panorama in 8-bit RGB, cropped, and flipped where mirrored."""
    return torch.stack([_row(batch, n, size) for n in range(*rows.indices(len(batch.ids)))])


def _row(batch: Batch, n: int, size: int) -> Tensor:
    uv_T2HW = F.interpolate(batch.uv_NT2hw[n].float(), scale_factor=2, mode="bilinear", align_corners=False)
    yuv_TCHW = torch.cat((batch.y_NTHW[n, :, None].float(), uv_T2HW), dim=1)
    rgb_TCHW = torch.einsum("rc,tchw->trhw", batch.rgb_N34[n, :, :3], yuv_TCHW) + batch.rgb_N34[n, :, 3:, None]
    crop_KTCHW = released_perspective(
        (rgb_TCHW.clamp(0, 1) * 255).round().to(torch.uint8),
        *(batch.azimuth_NK[n], batch.elevation_NK[n], batch.fov_NK[n]),
        size,
        batch.aspect_NK[n],
    )
    mirror_K1111 = batch.mirror_NK[n, :, None, None, None, None]
    crop_KTCHW = torch.where(mirror_K1111, crop_KTCHW.flip(-1), crop_KTCHW)
    return crop_KTCHW.permute(2, 1, 0, 3, 4).flatten(3).float() / 255
