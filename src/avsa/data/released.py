"""What published checkpoints were trained on: their crops, from decoded planes, and their normalisation statistics.

Shapes: B rows of a batch, K crops, T frames, C = 3 (R, G, B) or the channels of sound, H×W pixels, P pixels of a crop,
M mel bins.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avsa import config
from avsa.data.batch import Batch
from avsa.data.statistics import Statistics, feature_settings
from avsa.errors import UserError
from avsa.geometry.released import released_perspective

SAMPLE_RATE = 24000


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


def released_statistics(path: Path) -> Statistics:
    """The published normalisation statistics as ours: one mean and deviation per mel bin, for all four channels.

    The file holds `mean` and `std` in decibels; the published code divides by std + 1e-5.

    Raises:
        UserError: no such file, or another kind of file.
    """
    audio = config.Audio(scale="released")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean_M, std_M = (arrays[name].astype(np.float32) for name in ("mean", "std"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # NumPy fails in many ways on damaged archives
        raise UserError(f"{path} is not a file of published statistics ({str(error).partition(chr(10))[0]})") from None
    if mean_M.shape != (audio.mels,) or std_M.shape != (audio.mels,):
        raise UserError(
            f"{path}: mean and std of {audio.mels} mel bins are expected, found {mean_M.shape}, {std_M.shape}"
        )
    mean_CM, std_CM = (np.tile(values_M, (4, 1)) for values_M in (mean_M, std_M + np.float32(1e-5)))
    return Statistics(mean_CM, std_CM, feature_settings(config.Views(), audio, SAMPLE_RATE))
