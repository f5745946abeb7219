import math

import numpy as np
import pytest
import torch
from torch import Tensor

from avsa.data.planes import crop_rgb
from avsa.geometry.crops import crop_directions, perspective_batch

SIZE = 17
# Seam, both poles inside the crop, and ordinary places; narrow and wide.
AZIMUTH = torch.tensor([[math.pi, -3.1, 0.3], [0.0, 2.0, -1.0]])
ELEVATION = torch.tensor([[0.0, 1.5, -1.5], [1.05, -0.4, 0.2]])
FOV = torch.tensor([[1.5, 1.5, 1.2], [0.5, 1.5, 0.9]])
PLANES = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]]) / 255  # "RGB" that is luma and chroma itself


def directions() -> tuple[Tensor, Tensor]:
    return crop_directions(AZIMUTH, ELEVATION, FOV, torch.ones_like(FOV), SIZE, SIZE)


@pytest.mark.parametrize(("H", "W"), [(48, 96), (54, 96)])
def test_each_plane_is_cropped_as_a_panorama_of_its_own(H: int, W: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y_BTHW = torch.randint(256, (2, 3, H, W), dtype=torch.uint8, generator=generator)
    uv_BT2hw = torch.randint(256, (2, 3, 2, H // 2, W // 2), dtype=torch.uint8, generator=generator)
    crop_B3TKP = crop_rgb(y_BTHW, uv_BT2hw, PLANES.expand(2, 3, 4), *directions()) * 255
    y_BKTP = perspective_batch(y_BTHW[:, :, None].double(), AZIMUTH, ELEVATION, FOV, SIZE)[:, :, :, 0].flatten(-2)
    uv_BKT2P = perspective_batch(uv_BT2hw.double(), AZIMUTH, ELEVATION, FOV, SIZE).flatten(-2)
    expected = torch.cat((y_BKTP[:, :, :, None], uv_BKT2P), dim=3).permute(0, 3, 2, 1, 4)
    torch.testing.assert_close(crop_B3TKP.double(), expected, atol=0.05, rtol=0)


def test_rows_have_colour_matrices_of_their_own_and_values_are_clamped() -> None:
    y_BTHW = torch.full((2, 1, 16, 32), 100, dtype=torch.uint8)
    uv_BT2hw = torch.tensor([50, 200], dtype=torch.uint8)[None, None, :, None, None].expand(2, 1, 2, 8, 16)
    rgb_B34 = torch.tensor(np.random.default_rng(0).normal(scale=0.004, size=(2, 3, 4)), dtype=torch.float32)
    crop_B3TKP = crop_rgb(y_BTHW, uv_BT2hw, rgb_B34, *directions())
    expected_B3 = (rgb_B34 @ torch.tensor([100.0, 50, 200, 1])).clamp(0, 1)
    assert ((expected_B3 == 0) | (expected_B3 == 1)).any()
    torch.testing.assert_close(crop_B3TKP, expected_B3[:, :, None, None, None].expand_as(crop_B3TKP), atol=1e-5, rtol=0)
