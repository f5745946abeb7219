"""Views that cover the sphere: holes, and values put back against a slow loop and against what the views looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.cover import Cover
from avsa.geometry.crops import crop_directions
from avsa.geometry.sphere import direction_to_vector, pixel_directions

LAYOUTS = [(90, 0.0), (90, 0.2), (60, 0.3), (100, 0.1), (35, 0.25)]


def put_back(cover: Cover, values_VChw: Tensor) -> Tensor:
    panorama_CHW = torch.zeros(values_VChw.shape[1], cover.height, 2 * cover.height)
    for view, values_Chw in enumerate(values_VChw):
        cover.put_back(panorama_CHW, view, values_Chw)
    return panorama_CHW


@pytest.mark.parametrize(("fov_deg", "overlap"), LAYOUTS)
def test_directions_come_back_to_where_they_were_seen(fov_deg: float, overlap: float) -> None:
    """Each view holds the unit vectors its pixels look along; put back, every pixel of the panorama has its own."""
    cover = Cover(math.radians(fov_deg), 128, overlap, 48)
    fov_V = torch.full_like(cover.azimuth_V, cover.fov)
    one_V = torch.ones_like(fov_V)
    azimuth_VN, elevation_VN = (
        angle[0]
        for angle in crop_directions(cover.azimuth_V[None], cover.elevation_V[None], fov_V[None], one_V, 128, 128)
    )
    vectors_V3hw = direction_to_vector(azimuth_VN, elevation_VN).mT.unflatten(-1, (128, 128))
    truth_3HW = direction_to_vector(*pixel_directions(48, 96)).permute(2, 0, 1)
    # Views end half a pixel outside their outer pixels' centres.
    assert (put_back(cover, vectors_V3hw) - truth_3HW).abs().max() < math.tan(cover.fov / 2) / 128 + 1e-3


def test_a_panorama_survives() -> None:
    """Looked at and put back: what is smooth on the sphere comes back, seam and poles included; so does a constant."""
    cover = Cover(math.radians(90), 96, 0.2, 64)
    panorama_3HW = direction_to_vector(*pixel_directions(128, 256)).permute(2, 0, 1)
    truth_3HW = direction_to_vector(*pixel_directions(64, 128)).permute(2, 0, 1)
    back_3HW = put_back(cover, cover.look(panorama_3HW[None])[0])
    assert (back_3HW - truth_3HW).abs().max() < 0.02
    ones = put_back(cover, torch.ones(len(cover), 1, 7, 5))
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_shares_against_a_slow_loop() -> None:
    """The weighted mean of random values, pixel by pixel, from rotation matrices and interpolation by hand."""
    fov, size = math.radians(80), 9
    cover = Cover(fov, size, 0.25, 20)
    values_Vhw = np.random.default_rng(0).standard_normal((len(cover), size, size))
    found = put_back(cover, torch.from_numpy(values_Vhw).float()[:, None])[0].numpy()
    views_of_a_pixel = []
    for v, u in [(0, 0), (0, 39), (3, 11), (9, 0), (10, 39), (10, 20), (13, 27), (19, 5), (16, 33)]:
        phi, theta = math.pi * (1 - 2 * (u + 0.5) / 40), math.pi / 2 * (1 - 2 * (v + 0.5) / 20)
        ray = np.array([math.cos(phi) * math.cos(theta), math.sin(phi) * math.cos(theta), math.sin(theta)])
        weights, terms = [], []
        for view in range(len(cover)):
            a, e = float(cover.azimuth_V[view]), float(cover.elevation_V[view])
            turn = np.array([[math.cos(a), math.sin(a), 0], [-math.sin(a), math.cos(a), 0], [0, 0, 1]])
            tilt = np.array([[math.cos(e), 0, math.sin(e)], [0, 1, 0], [-math.sin(e), 0, math.cos(e)]])
            forward, left, up = tilt @ turn @ ray
            if forward <= 0:
                continue
            x, y = -left / forward / math.tan(fov / 2), -up / forward / math.tan(fov / 2)
            if max(abs(x), abs(y)) > 1:
                continue
            weights.append((1 - abs(x)) * (1 - abs(y)) + 1e-3)
            column, row = ((place + 1) / 2 * size - 0.5 for place in (x, y))
            column, row = (min(max(place, 0), size - 1) for place in (column, row))
            i, j = min(int(row), size - 2), min(int(column), size - 2)
            top = values_Vhw[view, i, j] * (1 - column + j) + values_Vhw[view, i, j + 1] * (column - j)
            low = values_Vhw[view, i + 1, j] * (1 - column + j) + values_Vhw[view, i + 1, j + 1] * (column - j)
            terms.append(top * (1 - row + i) + low * (row - i))
        views_of_a_pixel.append(len(weights))
        assert found[v, u] == pytest.approx(np.average(terms, weights=weights), abs=1e-4)
    assert max(views_of_a_pixel) > 2


def test_a_cube_has_six_faces() -> None:
    cover = Cover(math.radians(90), 8, 0.0, 32)
    assert sorted(torch.rad2deg(cover.elevation_V).round().tolist()) == [-90, 0, 0, 0, 0, 90]


def test_holes() -> None:
    with pytest.raises(UserError, match="views 60° wide that overlap by 0 leave holes: take a larger overlap"):
        Cover(math.radians(60), 8, 0.0, 64)
