"""Perspective crops: against a slow loop, against other implementations, and the invariants of the projection."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.crops import CropSampler, Viewpoints, perspective, perspective_batch
from avsa.geometry.sphere import direction_to_vector, pixel_directions

REFERENCE = Path(__file__).parents[1] / "reference" / "crops.npz"


def rad(*degrees: float) -> Tensor:
    return torch.tensor(degrees, dtype=torch.float64).deg2rad()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_viewpoints(clips: int, crops: int, seed: int = 0) -> Viewpoints:
    """Anywhere, poles included, in double precision."""
    sampler = CropSampler(crops=crops, max_elevation=math.pi / 2, min_separation=0, fov=(0.2, 2.5), aspect=(0.5, 2.0))
    drawn = sampler.sample(torch.Generator().manual_seed(seed), clips)
    return Viewpoints(*(tensor.double() for tensor in vars(drawn).values()))


def slow_crop(image_HW: Tensor, azimuth: float, elevation: float, fov: float, aspect: float, size: int) -> Tensor:
    """One pixel at a time, from the definitions: camera rays, two rotations, bilinear pixels on the sphere."""
    H, W = image_HW.shape

    def pixel(column: int, row: int) -> float:
        if row < 0 or row >= H:  # over the pole: the same row, half a turn on
            row, column = (-1 - row if row < 0 else 2 * H - 1 - row), column + W // 2
        return image_HW[row, column % W].item()

    crop = torch.zeros(size, size, dtype=torch.float64)
    for j in range(size):
        for i in range(size):
            x = 1.0
            y = math.tan(fov / 2) * (1 - 2 * (i + 0.5) / size)
            z = math.tan(fov / 2) / aspect * (1 - 2 * (j + 0.5) / size)
            x, z = x * math.cos(elevation) - z * math.sin(elevation), x * math.sin(elevation) + z * math.cos(elevation)
            x, y = x * math.cos(azimuth) - y * math.sin(azimuth), x * math.sin(azimuth) + y * math.cos(azimuth)
            u = (1 - math.atan2(y, x) / math.pi) * W / 2 - 0.5
            v = (1 - math.atan2(z, math.hypot(x, y)) / (math.pi / 2)) * H / 2 - 0.5
            column, row = math.floor(u), math.floor(v)
            right, low = u - column, v - row
            upper = pixel(column, row) * (1 - right) + pixel(column + 1, row) * right
            lower = pixel(column, row + 1) * (1 - right) + pixel(column + 1, row + 1) * right
            crop[j, i] = upper * (1 - low) + lower * low
    return crop


@pytest.mark.parametrize(("height", "width"), [(16, 32), (18, 32)])
def test_crops_equal_a_slow_loop(height: int, width: int) -> None:
    video_BTCHW = noise(2, 2, 3, height, width)
    at = random_viewpoints(2, 12)
    crops = perspective_batch(video_BTCHW, at.azimuth_BK, at.elevation_BK, at.fov_BK, 7, aspect_BK=at.aspect_BK)
    for b in range(2):
        for k in range(12):
            azimuth, elevation, fov, aspect = (float(tensor[b, k]) for tensor in vars(at).values())
            expected = slow_crop(video_BTCHW[b, 1, 2], azimuth, elevation, fov, aspect, 7)
            torch.testing.assert_close(crops[b, k, 1, 2], expected)


def test_uint8_crops_are_the_float_crops_rounded() -> None:
    video_BTCHW = (noise(2, 3, 3, 40, 80) * 255).to(torch.uint8)
    at = random_viewpoints(2, 4)
    places = (at.azimuth_BK.float(), at.elevation_BK.float(), at.fov_BK.float(), (9, 12))
    crops = perspective_batch(video_BTCHW, *places)
    exact = perspective_batch(video_BTCHW.float(), *places)
    assert crops.dtype == torch.uint8
    assert exact.dtype == torch.float32
    assert (crops - exact).abs().max() < 0.501


def test_a_single_clip_is_a_batch_of_one_whatever_the_memory_layout_and_the_block_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    video_TCHW = noise(2, 3, 16, 32)
    at = random_viewpoints(1, 5)
    places = (at.azimuth_BK[0], at.elevation_BK[0], at.fov_BK[0], 6)
    crops = perspective(video_TCHW, *places)
    interleaved = video_TCHW.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(perspective(interleaved, *places), crops)
    monkeypatch.setattr("avsa.geometry.crops.CACHED", 1)
    assert torch.equal(perspective(video_TCHW, *places), crops)


def test_a_point_lands_in_the_middle_of_the_crop_that_looks_at_it() -> None:
    H, W = 90, 180
    azimuth_HW, elevation_HW = pixel_directions(H, W, dtype=torch.float64)
    for v, u in ((45, 90), (20, 3), (70, 179), (2, 60), (88, 120)):
        image = torch.zeros(1, 1, H, W, dtype=torch.float64)
        image[..., v, u] = 1
        crop = perspective(image, azimuth_HW[v, u, None], elevation_HW[v, u, None], rad(40), 21)[0, 0, 0]
        assert crop[10, 10].item() == pytest.approx(1)
        assert crop.argmax().item() == 10 * 21 + 10


@pytest.mark.parametrize("fov_deg", [30.0, 90.0, 120.0])
def test_the_fov_is_the_angle_between_the_edges(fov_deg: float) -> None:
    """Seen from straight ahead, an image of the azimuth reads ±fov/2 at the left and right edges."""
    azimuth_HW, elevation_HW = pixel_directions(1000, 2000, dtype=torch.float64)
    image_TCHW = torch.stack((azimuth_HW, elevation_HW))[None]
    size = 200
    azimuth, elevation = perspective(image_TCHW, rad(0), rad(0), rad(fov_deg), size)[0, 0]
    half = math.tan(math.radians(fov_deg) / 2)
    centres = half * (1 - (2 * torch.arange(size, dtype=torch.float64) + 1) / size)
    middle = size // 2
    torch.testing.assert_close(azimuth[middle], torch.arctan(centres), atol=1e-4, rtol=0)
    torch.testing.assert_close(elevation[:, middle], torch.arctan(centres), atol=1e-4, rtol=0)
    edge = math.tan(azimuth[middle, 0].item()) * size / (size - 1)  # half a pixel beyond the outer pixel's centre
    assert 2 * math.degrees(math.atan(edge)) == pytest.approx(fov_deg, abs=0.05)


def test_aspect_stretches_the_vertical_angle() -> None:
    _, elevation_HW = pixel_directions(1000, 2000, dtype=torch.float64)
    places = (rad(0), rad(0), rad(90), (100, 200))
    square = perspective(elevation_HW[None, None], *places)[0, 0, 0, :, 100]
    same = perspective(elevation_HW[None, None], *places, aspect_K=torch.tensor([2.0]).double())[0, 0, 0, :, 100]
    tall = perspective(elevation_HW[None, None], *places, aspect_K=torch.tensor([0.5]).double())[0, 0, 0, :, 100]
    torch.testing.assert_close(square, same)
    torch.testing.assert_close(torch.tan(tall), 4 * torch.tan(square), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_constant_panorama_stays_constant_across_seam_and_poles(dtype: torch.dtype) -> None:
    video = torch.full((1, 1, 3, 18, 32), 77).to(dtype)
    at = random_viewpoints(1, 200)
    crops = perspective_batch(video, at.azimuth_BK.float(), at.elevation_BK.float(), at.fov_BK.float(), 16)
    torch.testing.assert_close(crops, torch.full_like(crops, 77))


def test_smooth_scenes_are_smooth_across_seam_and_poles() -> None:
    """An image of the unit vectors gives back each pixel's ray, also where a crop spans a pole or the seam."""
    directions = direction_to_vector(*pixel_directions(256, 512, dtype=torch.float64)).movedim(-1, 0)[None]
    azimuth, elevation, fov = rad(180, 170, 30, -60), rad(0, 80, 90, -89), rad(90, 90, 60, 80)
    crops_KCHW = perspective(directions, azimuth, elevation, fov, 64)[:, 0]
    steps = torch.cat((crops_KCHW.diff(dim=-1).flatten(2), crops_KCHW.diff(dim=-2).flatten(2)), dim=-1).norm(dim=1)
    assert steps.max() < 1.05 * 2 * math.tan(math.radians(45)) / 64
    torch.testing.assert_close(crops_KCHW.norm(dim=1), torch.ones(4, 64, 64).double(), atol=1e-3, rtol=0)


def test_turning_the_panorama_turns_the_crops() -> None:
    video_TCHW = noise(1, 1, 16, 32)
    azimuth, elevation, fov = rad(0, 100, -170), rad(0, -50, 80), rad(60, 90, 40)
    for pixels in (1, 5, 16):
        turned = torch.roll(video_TCHW, -pixels, dims=-1)  # to the left
        angle = 2 * math.pi * pixels / 32
        torch.testing.assert_close(
            perspective(turned, azimuth + angle, elevation, fov, 9), perspective(video_TCHW, azimuth, elevation, fov, 9)
        )


def test_a_mirrored_crop_is_the_crop_flipped() -> None:
    video_BTCHW = noise(2, 1, 1, 16, 32)
    at = random_viewpoints(2, 3)
    mirror_BK = torch.tensor([[True, False, True], [False, False, True]])
    places = (at.azimuth_BK, at.elevation_BK, at.fov_BK, 8)
    plain, mirrored = (
        perspective_batch(video_BTCHW, *places),
        perspective_batch(video_BTCHW, *places, mirror_BK=mirror_BK),
    )
    torch.testing.assert_close(mirrored[mirror_BK], plain[mirror_BK].flip(-1))
    torch.testing.assert_close(mirrored[~mirror_BK], plain[~mirror_BK])


def test_nearest_keeps_labels_and_takes_the_closest_pixel() -> None:
    labels_HW = torch.arange(36 * 72, dtype=torch.int64).view(36, 72)
    azimuth_HW, elevation_HW = pixel_directions(36, 72, dtype=torch.float64)
    at = random_viewpoints(1, 20)
    places = (at.azimuth_BK[0], at.elevation_BK[0], at.fov_BK[0], 5)
    found = perspective(labels_HW[None, None], *places, mode="nearest").flatten()
    assert found.dtype == torch.int64
    exact = direction_to_vector(azimuth_HW, elevation_HW).movedim(-1, 0)[None]
    seen = perspective(exact, *places).movedim(2, -1).reshape(-1, 3)
    offsets = (direction_to_vector(azimuth_HW.flatten()[found], elevation_HW.flatten()[found]) - seen).norm(dim=-1)
    assert offsets.max() < 1.02 * math.hypot(math.pi / 72, math.pi / 72)  # half a pixel along each axis


@pytest.mark.parametrize("source", ["py360convert", "ffmpeg"])
def test_crops_agree_with_other_implementations(source: str) -> None:
    """Within 3 grey levels on a smooth image; what is left is the others' pixel grids."""
    stored = np.load(REFERENCE)
    image_TCHW = torch.from_numpy(stored["panorama"]).permute(2, 0, 1)[None].double()
    azimuth, elevation = rad(*stored["azimuth_deg"].tolist()), rad(*stored["elevation_deg"].tolist())
    crops = perspective(image_TCHW, azimuth, elevation, rad(*stored["fov_deg"].tolist()), int(stored["size"]))
    expected = torch.from_numpy(stored[source]).permute(0, 3, 1, 2).double()
    difference = (crops[:, 0] - expected).abs()
    assert difference.max() <= 3
    assert difference.mean() < 1


def test_wrong_arguments_are_explained() -> None:
    video = torch.zeros(1, 1, 8, 16)
    with pytest.raises(UserError, match="fov"):
        perspective(video, rad(0), rad(0), rad(180), 4)
    with pytest.raises(UserError, match="mode 'cubic'"):
        perspective(video, rad(0), rad(0), rad(60), 4, mode="cubic")
    with pytest.raises(UserError, match="uint8"):
        perspective(video.long(), rad(0), rad(0), rad(60), 4)
