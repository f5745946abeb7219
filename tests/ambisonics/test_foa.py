"""Encoding, turning, mirroring and converting first-order ambisonics."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avsa.ambisonics.energy import direction_of_arrival
from avsa.ambisonics.foa import (
    ORDERS,
    encode,
    from_acn_sn3d,
    mirror,
    rotate,
    rotation,
    steering,
    to_acn_sn3d,
    turn_to,
    yaw,
)
from avsa.ambisonics.released import released_turn_to
from avsa.errors import UserError
from avsa.geometry.crops import perspective
from avsa.geometry.sphere import angular_distance, direction_to_vector, pixel_directions, vector_to_direction

REFERENCE = Path(__file__).parents[1] / "reference" / "harmonics.npz"


def stored(*names: str) -> list[Tensor]:
    arrays = np.load(REFERENCE)
    return [torch.from_numpy(arrays[name]) for name in names]


def random_directions(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    uniform = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * uniform[0] - 1) * math.pi, torch.asin(2 * uniform[1] - 1)


def random_rotations(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator, dtype=torch.float64))
    proper: Tensor = q * torch.linalg.det(q)[:, None, None]
    return proper


def signal(samples: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_plane_wave_follows_the_definition() -> None:
    s, phi, theta = signal(), 0.7, -0.4
    expected = (
        s,
        s * math.sin(phi) * math.cos(theta),
        s * math.sin(theta),
        s * math.cos(phi) * math.cos(theta),
    )
    torch.testing.assert_close(encode(s, phi, theta), torch.stack(expected))


def test_steering_agrees_with_spherical_harmonics_of_another_implementation() -> None:
    azimuth, elevation, harmonics = stored("azimuth", "elevation", "harmonics")
    torch.testing.assert_close(steering(azimuth, elevation), harmonics)


def test_turning_agrees_with_another_implementation() -> None:
    names = ("towards_azimuth", "towards_elevation", "harmonics", "turned_harmonics")
    azimuth, elevation, harmonics, turned = stored(*names)
    torch.testing.assert_close((turn_to(azimuth, elevation) @ harmonics[..., None])[..., 0], turned)


def test_arrays_and_tensors_encode_alike() -> None:
    s = signal()
    encoded = encode(s.numpy(), 0.3, 0.1)
    assert isinstance(encoded, np.ndarray)
    assert encoded.dtype == np.float64
    np.testing.assert_array_equal(encoded, encode(s, 0.3, 0.1).numpy())
    assert encode(s.float(), 0.3, torch.tensor(0.1, dtype=torch.float64)).dtype == torch.float32


def test_a_moving_source_is_encoded_sample_by_sample() -> None:
    s, (azimuth, elevation) = signal(20), random_directions(20)
    moving = encode(s, azimuth, elevation)
    for n in range(20):
        still = encode(s, azimuth[n].item(), elevation[n].item())
        torch.testing.assert_close(moving[:, n], still[:, n])
    np.testing.assert_allclose(encode(s.numpy(), azimuth.numpy(), elevation.numpy()), moving.numpy())


def test_rotating_the_sound_is_rotating_the_source() -> None:
    s = signal()
    for matrix_33, azimuth, elevation in zip(random_rotations(20), *random_directions(20), strict=True):
        turned = vector_to_direction(matrix_33 @ direction_to_vector(azimuth, elevation))
        torch.testing.assert_close(rotate(encode(s, azimuth, elevation), rotation(matrix_33)), encode(s, *turned))


def test_rotations_compose_and_keep_energy() -> None:
    first, second = random_rotations(10, seed=1), random_rotations(10, seed=2)
    torch.testing.assert_close(rotation(first) @ rotation(second), rotation(first @ second))
    identity = torch.eye(4, dtype=torch.float64).expand(10, 4, 4)
    torch.testing.assert_close(rotation(first) @ rotation(first).mT, identity)


def test_turn_to_is_pitch_after_yaw_and_brings_the_direction_ahead_with_a_level_horizon() -> None:
    azimuth, elevation = random_directions(50)
    matrix = turn_to(azimuth, elevation)
    ahead = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64).expand(50, 4)
    torch.testing.assert_close((matrix @ steering(azimuth, elevation)[..., None])[..., 0], ahead)
    for n in range(50):
        a, e = azimuth[n].item(), elevation[n].item()
        r_y = torch.tensor([[math.cos(e), 0, math.sin(e)], [0, 1, 0], [-math.sin(e), 0, math.cos(e)]]).double()
        r_z = torch.tensor([[math.cos(-a), -math.sin(-a), 0], [math.sin(-a), math.cos(-a), 0], [0, 0, 1]]).double()
        torch.testing.assert_close(matrix[n], rotation(r_y @ r_z), atol=1e-6, rtol=0)
    right_of_it = steering(azimuth - math.pi / 2, torch.zeros_like(azimuth))
    torch.testing.assert_close(
        (matrix @ right_of_it[..., None])[..., 0], torch.tensor([1.0, -1, 0, 0], dtype=torch.float64).expand(50, 4)
    )


def test_yaw_turns_the_scene_to_the_left() -> None:
    azimuth, elevation = random_directions(20)
    for angle in (0.4, -2.0, torch.tensor(3.0).double()):
        turned = (yaw(angle).double() @ steering(azimuth, elevation)[..., None])[..., 0]
        torch.testing.assert_close(turned, steering(azimuth + angle, elevation), atol=1e-6, rtol=0)


def test_matrices_broadcast_over_clips_and_viewpoints() -> None:
    foa_BCS = torch.stack([encode(signal(seed=b), 0.3 * b, 0.1) for b in range(3)])
    azimuth, elevation = (angle.view(3, 5) for angle in random_directions(15))
    turned_BKCS = rotate(foa_BCS[:, None], turn_to(azimuth, elevation))
    assert turned_BKCS.shape == (3, 5, 4, 64)
    torch.testing.assert_close(turned_BKCS[2, 4], turn_to(azimuth[2, 4], elevation[2, 4]) @ foa_BCS[2])


def crop_pair(video_TCHW: Tensor, foa_CS: Tensor, azimuth: float, elevation: float) -> tuple[Tensor, Tensor]:
    phi, theta, fov = (torch.tensor([angle], dtype=torch.float64) for angle in (azimuth, elevation, 1.2))
    return perspective(video_TCHW, phi, theta, fov, 16), rotate(foa_CS, turn_to(phi[0], theta[0]))


@pytest.mark.parametrize("columns", [1, 9, 20, 33])
def test_turning_panorama_and_sound_together_leaves_every_crop_pair_unchanged(columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    video_TCHW = torch.rand(2, 3, 20, 40, generator=generator, dtype=torch.float64)
    foa_CS = torch.randn(4, 32, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * columns / 40
    turn = yaw(torch.tensor(angle, dtype=torch.float64))
    turned = torch.roll(video_TCHW, -columns, dims=-1), rotate(foa_CS, turn)
    for azimuth, elevation in ((0.0, 0.0), (2.5, 0.7), (-1.3, -1.0)):
        pair, turned_pair = (
            crop_pair(video_TCHW, foa_CS, azimuth, elevation),
            crop_pair(*turned, azimuth + angle, elevation),
        )
        torch.testing.assert_close(turned_pair[0], pair[0])
        torch.testing.assert_close(turned_pair[1], pair[1])


def test_a_source_seen_in_a_crop_is_heard_where_it_is_seen_mirrored_or_not() -> None:
    """The panorama shows each pixel's direction; what a crop shows at a pixel, its sound has there too."""
    seen_TCHW = direction_to_vector(*pixel_directions(200, 400, dtype=torch.float64)).movedim(-1, 0)[None]
    azimuth, elevation, fov = (torch.tensor([a], dtype=torch.float64) for a in (2.9, 0.6, 1.4))
    size, row, column = 41, 6, 33
    left = math.tan(0.7) * (1 - 2 * (column + 0.5) / size)
    up = math.tan(0.7) * (1 - 2 * (row + 0.5) / size)
    place_in_crop = vector_to_direction(torch.tensor([1.0, left, up], dtype=torch.float64))
    for mirrored in (False, True):
        crop = perspective(seen_TCHW, azimuth, elevation, fov, size, mirror_K=torch.tensor([mirrored]))
        source = encode(signal(), *vector_to_direction(crop[0, 0, :, row, column]))
        turned = rotate(source, turn_to(azimuth, elevation)[0])
        heard = direction_of_arrival(rotate(turned, mirror()) if mirrored else turned)
        assert angular_distance(*heard, *place_in_crop).item() < 1e-3
    assert place_in_crop[0].item() < -0.3  # right of the middle: without the mirror the test would notice


def test_mirror_swaps_left_and_right() -> None:
    azimuth, elevation = random_directions(10)
    swapped = (mirror(dtype=torch.float64) @ steering(azimuth, elevation)[..., None])[..., 0]
    torch.testing.assert_close(swapped, steering(-azimuth, elevation))


@pytest.mark.parametrize(
    ("order", "gains"),
    [
        ("acn-sn3d", ("w", "y", "z", "x")),
        ("acn-n3d", ("w", "√3y", "√3z", "√3x")),
        ("fuma", ("w/√2", "x", "y", "z")),
        ("youtube-aac6", ("x", "y", "w", "0", "z", "0")),
        ("youtube-aac4", ("x", "y", "w", "z")),
    ],
)
def test_orders_are_converted_both_ways(order: str, gains: tuple[str, ...]) -> None:
    foa = encode(signal(), 0.5, -0.8)
    w, y, z, x = foa
    r2, r3 = math.sqrt(2), math.sqrt(3)
    named = {"w": w, "y": y, "z": z, "x": x, "0": 0 * w, "w/√2": w / r2, "√3y": r3 * y, "√3z": r3 * z, "√3x": r3 * x}
    sound = torch.stack([named[gain] for gain in gains])
    torch.testing.assert_close(to_acn_sn3d(sound, order), foa)
    torch.testing.assert_close(from_acn_sn3d(foa, order), sound)
    converted = to_acn_sn3d(sound.numpy(), order)
    assert isinstance(converted, np.ndarray)
    np.testing.assert_allclose(from_acn_sn3d(converted, order), sound.numpy(), atol=1e-12)


def test_head_locked_stereo_is_left_out() -> None:
    foa = encode(signal(), 0.5, -0.8)
    sound = from_acn_sn3d(foa, "youtube-aac6")
    sound[3], sound[5] = signal(seed=1), signal(seed=2)
    torch.testing.assert_close(to_acn_sn3d(sound, "youtube-aac6"), foa)


def test_wrong_orders_and_channel_counts_are_explained() -> None:
    with pytest.raises(UserError, match=r"'wxyz' is unknown: use one of acn-sn3d"):
        to_acn_sn3d(torch.zeros(4, 8), "wxyz")
    for order in ORDERS:
        with pytest.raises(UserError, match="the sound has 2"):
            to_acn_sn3d(torch.zeros(2, 8), order)


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg", "off_deg"), [(45, 30, 10), (90, 30, 30), (180, 30, 60)])
def test_the_released_rotation_misses_the_front(azimuth_deg: float, elevation_deg: float, off_deg: float) -> None:
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    x, z = -math.radians(azimuth_deg), elevation
    r_z = torch.tensor([[math.cos(x), -math.sin(x), 0], [math.sin(x), math.cos(x), 0], [0, 0, 1]])
    r_y = torch.tensor([[math.cos(z), 0, math.sin(z)], [0, 1, 0], [-math.sin(z), 0, math.cos(z)]])
    torch.testing.assert_close(released_turn_to(azimuth, elevation), rotation(r_z @ r_y))
    source = encode(signal().float(), azimuth, elevation)
    heard = direction_of_arrival(rotate(source, released_turn_to(azimuth, elevation)))
    assert math.degrees(angular_distance(*heard, 0.0, 0.0).item()) == pytest.approx(off_deg, abs=0.6)
