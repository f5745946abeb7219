"""Pictures show what is there: crop borders where the crops are, sound on the side it comes from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avsa.ambisonics.foa import encode, turn_to
from avsa.config import Audio
from avsa.data.colour import yuv_to_rgb
from avsa.data.decode import Planes
from avsa.geometry.crops import Viewpoints, perspective
from avsa.geometry.sphere import direction_to_pixel, direction_to_vector
from avsa.report.pictures import (
    WIDTH,
    crop_card,
    degrees,
    outline,
    panorama_with_outlines,
    power_picture,
    viewpoint_features,
)
from avsa.report.scenes import Scene, Source, rgb_frame, sounding

AZIMUTH = torch.tensor([0.0, 2.9, -1.2, 0.4])
ELEVATION = torch.tensor([0.0, 0.5, -0.9, 1.2])  # across the seam; over the pole
FOV = torch.tensor([1.0, 1.5, 0.6, 1.4])
ASPECT = torch.tensor([1.0, 1.3, 0.7, 1.0])


def viewpoints(azimuth: list[float], elevation: list[float], fov: float = 1.4) -> Viewpoints:
    ones = torch.ones(1, len(azimuth))
    return Viewpoints(torch.tensor([azimuth]), torch.tensor([elevation]), fov * ones, ones)


def scene(azimuth: float = 0.0, elevation: float = 0.0, sources: tuple[Source, ...] | None = None) -> Scene:
    signal_S = torch.randn(8000, generator=torch.Generator().manual_seed(0)) * 0.1
    grey_CHW = torch.full((3, 64, 128), 90, dtype=torch.uint8)
    return Scene("one", grey_CHW, encode(signal_S, azimuth, elevation), 8000, sources)


def test_outlines_lie_on_the_image_planes_borders() -> None:
    azimuth_KP, elevation_KP = outline(AZIMUTH, ELEVATION, FOV, ASPECT, points=16)
    assert azimuth_KP.shape == (4, 4 * 15 + 1)
    assert torch.equal(azimuth_KP[:, 0], azimuth_KP[:, -1])
    to_camera_K33 = turn_to(AZIMUTH, ELEVATION)[:, 1:, 1:]  # on (y, z, x)
    rays_KP3 = direction_to_vector(azimuth_KP, elevation_KP)[..., (1, 2, 0)] @ to_camera_K33.transpose(1, 2)
    left_KP, up_KP, forward_KP = rays_KP3.unbind(-1)
    assert bool((forward_KP > 0).all())
    across = (left_KP / forward_KP).abs() / torch.tan(FOV / 2)[:, None]
    along = (up_KP / forward_KP).abs() / (torch.tan(FOV / 2) / ASPECT)[:, None]
    torch.testing.assert_close(torch.maximum(across, along), torch.ones_like(across), atol=2e-4, rtol=0)
    torch.testing.assert_close(across[:, 0] * along[:, 0], torch.ones(4), atol=4e-4, rtol=0)  # begins in a corner


def test_a_dot_on_the_outline_shows_at_the_crops_border() -> None:
    height, size = 720, 32
    azimuth_KP, elevation_KP = outline(AZIMUTH, ELEVATION, FOV, ASPECT, points=9)
    for k in range(4):
        for p in (0, 4, 12, 20, 28):  # a corner and the middles of the sides
            u, v = direction_to_pixel(azimuth_KP[k, p], elevation_KP[k, p], height, 2 * height)
            panorama = torch.zeros(1, 1, height, 2 * height)
            rows = torch.arange(height)[:, None] - v
            columns = (torch.arange(2 * height) - u + height) % (2 * height) - height
            stretch = math.cos(float(elevation_KP[k, p]))  # round on the sphere
            panorama[0, 0] = torch.exp(-(rows**2 + (columns * stretch) ** 2) / 2 / 4**2)
            one = slice(k, k + 1)
            crop = perspective(panorama, AZIMUTH[one], ELEVATION[one], FOV[one], size, aspect_K=ASPECT[one])[0, 0, 0]
            row, column = divmod(int(crop.argmax()), size)
            assert min(row, column, size - 1 - row, size - 1 - column) == 0


def test_outlines_are_drawn_to_both_edges_at_the_seam(tmp_path: Path) -> None:
    behind = panorama_with_outlines(scene(), viewpoints([math.pi], [0.0]), tmp_path / "behind.png")
    picture = np.asarray(Image.open(behind).convert("RGB")).astype(int)
    assert picture.shape == (WIDTH // 2, WIDTH, 3)
    coloured = np.abs(picture - 90).max(axis=2) > 60
    assert coloured[:, 0].any()
    assert coloured[:, -1].any()
    assert not coloured[:, WIDTH // 2 - 60 : WIDTH // 2 + 60].any()


def test_sound_ahead_is_red_and_behind_is_blue(tmp_path: Path) -> None:
    views = viewpoints([1.0, 1.0 - math.pi], [0.2, -0.2])
    heard = scene(azimuth=1.0, elevation=0.2)
    features_KCTM = viewpoint_features(heard, views, Audio(mels=16, window=256, hop=160))
    assert features_KCTM.shape == (2, 7, 50, 16)
    means = []
    for k in range(2):
        card = crop_card(heard, views, k, features_KCTM[k], tmp_path / f"{k}.png")
        lower = np.asarray(Image.open(card).convert("RGB")).astype(float)[-100:]
        means.append(lower.mean(axis=(0, 1)))
    assert means[0][0] - means[0][2] > 40
    assert means[1][2] - means[1][0] > 40


@pytest.mark.parametrize("direction", [(0.7, 0.3), (-2.9, -0.6)])
def test_the_map_is_brightest_where_the_sound_comes_from(tmp_path: Path, direction: tuple[float, float]) -> None:
    heard = power_picture(scene(*direction), tmp_path / "power.png")
    assert (heard.azimuth, heard.elevation) == pytest.approx(direction, abs=1e-3)
    assert heard.contrast_db > 20
    picture = np.asarray(Image.open(tmp_path / "power.png").convert("RGB")).astype(float)
    warmth = picture[..., 0] - picture[..., 2]
    u, v = (int(x) for x in direction_to_pixel(*direction, WIDTH // 2, WIDTH))
    opposite = int(direction_to_pixel(direction[0] + math.pi, -direction[1], WIDTH // 2, WIDTH)[0])
    assert warmth[v, u - 30 : u - 20].mean() > 60
    assert warmth[WIDTH // 2 - 1 - v, opposite] < 20


def test_true_sources_are_marked(tmp_path: Path) -> None:
    power_picture(scene(), tmp_path / "without.png")
    power_picture(scene(sources=(Source("bell", 1.5, 0.5),)), tmp_path / "with.png")
    without, with_ = (
        np.asarray(Image.open(tmp_path / name).convert("L")).astype(int) for name in ("without.png", "with.png")
    )
    changed_v, changed_u = np.nonzero(np.abs(with_ - without) > 8)
    u, v = (float(x) for x in direction_to_pixel(1.5, 0.5, WIDTH // 2, WIDTH))
    assert len(changed_u) > 200
    assert np.abs(changed_u - u).max() < 40
    assert changed_v.min() > v - 25
    assert changed_v.max() < v + 45


def test_a_silent_clip_has_a_map_too(tmp_path: Path) -> None:
    silent = scene()
    silent.foa_CS.zero_()
    assert power_picture(silent, tmp_path / "silent.png").contrast_db == 0


def test_frames_become_rgb() -> None:
    matrix = yuv_to_rgb(1, 1)  # BT.709, limited range
    y_THW = np.full((1, 4, 6), 235, np.uint8)
    y_THW[0, :2, :2] = 63  # BT.709 red is (63, 102, 240)
    uv_T2hw = np.full((1, 2, 2, 3), 128, np.uint8)
    uv_T2hw[0, :, 0, 0] = (102, 240)
    rgb = rgb_frame(Planes(y_THW, uv_T2hw, matrix))
    assert rgb.dtype == torch.uint8
    assert rgb[:, 3, 5].tolist() == [255, 255, 255]
    assert all(abs(a - b) <= 2 for a, b in zip(rgb[:, 1, 1].tolist(), (255, 0, 0), strict=True))


def test_truth_at_the_nearest_time() -> None:
    truth = {
        "time_s": [0.0, 0.5, 1.0],
        "objects": [
            {"class": "bell", "sounding": True, "azimuth": [0.1, 0.2, 0.3], "elevation": [0.0, -0.1, -0.2]},
            {"class": "drum", "sounding": False, "azimuth": [1.0, 1.0, 1.0], "elevation": [0.0, 0.0, 0.0]},
        ],
    }
    assert sounding(truth, 0.7) == (Source("bell", 0.2, -0.1),)
    assert sounding({"id": "x"}, 0.7) is None


def test_directions_in_words() -> None:
    assert degrees(math.radians(35), math.radians(-12)) == "35° left, 12° down"
    assert degrees(math.radians(-90), 0.0) == "90° right"
    assert degrees(0.0, math.radians(5)) == "ahead, 5° up"
