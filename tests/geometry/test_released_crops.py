"""Crops as the published code makes them: its formulas, one pixel at a time."""

import math

import pytest
import torch

from avsa.geometry.crops import perspective
from avsa.geometry.released import released_perspective
from avsa.geometry.sphere import pixel_directions


def slow_released_crop(
    image: torch.Tensor, x: float, y: float, h: float, v: float, n: int, nearest: bool = False
) -> torch.Tensor:
    """Centre (x, y) and field of view (h, v) as fractions of the image and of 360°/180°; y grows downward."""
    H, W = image.shape
    crop = torch.zeros(n, n)
    latitude_0 = (y - 0.5) * math.pi
    shift = int((0.5 - x) * W)
    for j in range(n):
        for i in range(n):
            plane_x, plane_y = math.pi * h * (2 * i / n - 1), math.pi / 2 * v * (2 * j / n - 1)
            radius = math.hypot(plane_x, plane_y)
            if radius == 0:
                latitude, longitude = latitude_0, 0.0
            else:
                c = math.atan(radius)
                latitude = math.asin(
                    math.cos(c) * math.sin(latitude_0) + plane_y * math.sin(c) * math.cos(latitude_0) / radius
                )
                longitude = math.atan2(
                    plane_x * math.sin(c),
                    radius * math.cos(latitude_0) * math.cos(c) - plane_y * math.sin(latitude_0) * math.sin(c),
                )
            column, row = (longitude / (2 * math.pi) + 0.5) * W, (latitude / math.pi + 0.5) * H
            if nearest:
                crop[j, i] = image[min(round(row), H - 1), (round(column) - shift) % W]
                continue
            left, top = math.floor(column), math.floor(row)
            value = 0.0
            for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
                weight = (column - left if du else left + 1 - column) * (row - top if dv else top + 1 - row)
                value += weight * image[min(top + dv, H - 1), (left + du - shift) % W].item()
            crop[j, i] = round(value)
    return crop


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(0, 0), (50, 20), (-170, -30), (177, 29)])
def test_released_crops_follow_the_published_formulas(azimuth_deg: float, elevation_deg: float) -> None:
    image = torch.randint(0, 256, (20, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    azimuth, elevation, fov = (torch.tensor([math.radians(a)]).double() for a in (azimuth_deg, elevation_deg, 80))
    crop = released_perspective(image[None, None], azimuth, elevation, fov, 10)[0, 0, 0]
    x, y = 0.5 - azimuth_deg / 360, 0.5 - elevation_deg / 180
    expected = slow_released_crop(image, x, y, 80 / 360, 80 / 180, 10)
    torch.testing.assert_close(crop.float(), expected, atol=1e-4, rtol=0)


def test_released_crops_show_too_little_and_are_off_centre() -> None:
    """A nominal 90° spans −38.15° to +37.65° where the right crop's pixels span almost ±45°."""
    azimuth_HW, _ = pixel_directions(1024, 2048)
    # Undo the half pixel by which the published code reads the panorama; degrees, as values are rounded to integers.
    image = 1000 * (azimuth_HW + math.pi / 2048).rad2deg()
    straight, fov = torch.zeros(1), torch.tensor([math.radians(90)])
    released = released_perspective(image[None, None], straight, straight, fov, 112)[0, 0, 0, 56] / 1000
    assert released[0].item() == pytest.approx(38.15, abs=0.02)
    assert released[-1].item() == pytest.approx(-37.65, abs=0.02)
    right = perspective(azimuth_HW[None, None].rad2deg(), straight, straight, fov, 112)[0, 0, 0, 56]
    assert right[0].item() == pytest.approx(-right[-1].item(), abs=1e-3)
    assert right[0].item() == pytest.approx(math.degrees(math.atan(111 / 112)), abs=0.02)


@pytest.mark.parametrize("aspect", [0.75, 1.0, 4 / 3])
def test_released_label_maps_and_aspects(aspect: float) -> None:
    """A crop is fov/aspect high in the tangent plane; a label is taken from the nearest whole coordinates."""
    image = torch.randint(0, 32, (20, 40), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    azimuth, elevation, fov, ratio = (torch.tensor([x]).double() for x in (2.0, 0.4, 1.3, aspect))
    at = (0.5 - 2.0 / (2 * math.pi), 0.5 - 0.4 / math.pi, 1.3 / (2 * math.pi), 1.3 / aspect / math.pi)
    for mode in ("nearest", "bilinear"):
        crop = released_perspective(image[None, None], azimuth, elevation, fov, 10, ratio, mode)[0, 0, 0]
        expected = slow_released_crop(image, *at, 10, nearest=mode == "nearest")
        torch.testing.assert_close(crop.float(), expected, atol=1e-4, rtol=0)
