"""Conventions of directions and equirectangular pixels."""

import math

import numpy as np
import pytest
import torch

from avsa.geometry.sphere import (
    angular_distance,
    direction_to_pixel,
    direction_to_vector,
    pixel_directions,
    vector_to_direction,
)

QUARTER = math.pi / 2


@pytest.mark.parametrize(
    ("azimuth", "elevation", "xyz"),
    [(0.0, 0.0, (1, 0, 0)), (QUARTER, 0.0, (0, 1, 0)), (0.0, QUARTER, (0, 0, 1)), (math.pi, 0.0, (-1, 0, 0))],
)
def test_axes_are_forward_left_up(azimuth: float, elevation: float, xyz: tuple[int, int, int]) -> None:
    torch.testing.assert_close(direction_to_vector(azimuth, elevation), torch.tensor(xyz).float(), atol=1e-6, rtol=0)


def test_vectors_and_directions_are_inverse() -> None:
    azimuth = torch.linspace(-3.1, 3.1, 41, dtype=torch.float64)[:, None]
    elevation = torch.linspace(-1.5, 1.5, 21, dtype=torch.float64)
    back = vector_to_direction(3.7 * direction_to_vector(azimuth, elevation))
    torch.testing.assert_close(back[0], azimuth.expand(41, 21))
    torch.testing.assert_close(back[1], elevation.expand(41, 21))


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 16), (7, 15)])
def test_pixel_centres_follow_the_formula(height: int, width: int) -> None:
    azimuth_HW, elevation_HW = pixel_directions(height, width, dtype=torch.float64)
    for v in range(height):
        for u in range(width):
            assert azimuth_HW[v, u].item() == pytest.approx(math.pi * (1 - 2 * (u + 0.5) / width))
            assert elevation_HW[v, u].item() == pytest.approx(QUARTER * (1 - 2 * (v + 0.5) / height))


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 16), (7, 15)])
def test_pixels_and_directions_are_inverse_on_every_turn(height: int, width: int) -> None:
    azimuth, elevation = pixel_directions(height, width, dtype=torch.float64)
    for turns in (-2, 0, 3):
        u, v = direction_to_pixel(azimuth + 2 * math.pi * turns, elevation, height, width)
        torch.testing.assert_close(u, torch.arange(width, dtype=torch.float64).expand(height, width))
        torch.testing.assert_close(v, torch.arange(height, dtype=torch.float64)[:, None].expand(height, width))


def test_straight_ahead_is_the_middle_and_behind_is_the_seam() -> None:
    u, v = direction_to_pixel(0.0, 0.0, 9, 16)
    assert (u.item(), v.item()) == (7.5, 4.0)
    u, _ = direction_to_pixel(torch.tensor([math.pi - 1e-6, -math.pi + 1e-6], dtype=torch.float64), 0.0, 9, 16)
    assert u.tolist() == pytest.approx([-0.5, 15.5], abs=1e-4)


def test_angular_distance_is_the_angle_between_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    azimuth, other_azimuth = (torch.rand(2, 500, generator=generator, dtype=torch.float64) * 2 - 1) * math.pi
    elevation, other_elevation = (torch.rand(2, 500, generator=generator, dtype=torch.float64) - 0.5) * math.pi
    dots = (direction_to_vector(azimuth, elevation) * direction_to_vector(other_azimuth, other_elevation)).sum(-1)
    distance = angular_distance(azimuth, elevation, other_azimuth, other_elevation)
    torch.testing.assert_close(distance, torch.arccos(dots.clamp(-1, 1)), atol=1e-7, rtol=0)
    assert angular_distance(1.0, 0.3, 1.0, 0.3).item() == 0
    assert angular_distance(torch.tensor(0.0), 1e-5, 0.0, 0.0).item() == pytest.approx(1e-5, rel=1e-4)


def test_numbers_arrays_and_tensors_mix_and_keep_their_precision() -> None:
    assert direction_to_vector(0.1, torch.zeros(3, dtype=torch.float64)).dtype == torch.float64
    assert direction_to_vector(np.zeros(3), 0.2).dtype == torch.float64
    assert direction_to_vector(0.1, 0.2).dtype == torch.float32
