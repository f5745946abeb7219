import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_clips import FPS, RATE, Bytes, ordinary_clip, write_store
from torch import Tensor

from avsa import config
from avsa.ambisonics.foa import encode, yaw
from avsa.clips.store import ClipStore
from avsa.data.batch import Batch
from avsa.data.loader import ClipLoader
from avsa.data.statistics import Statistics
from avsa.data.views import PICTURE_MEAN, PICTURE_STD, Views, without_augmentation
from avsa.geometry.sphere import direction_to_vector, pixel_directions

VIEWS = config.Views(size=33, frames=3, audio_s=0.5, fov_deg=(60, 60))
AUDIO = config.Audio(kind="ambisonics+intensity", mels=24, window=256, hop=160)
Y, Z, X = 4, 5, 6  # intensity among the feature channels


def picture(video_NKCTHW: Tensor) -> Tensor:
    """Undo the normalisation."""
    return (
        video_NKCTHW * torch.tensor(PICTURE_STD)[:, None, None, None] + torch.tensor(PICTURE_MEAN)[:, None, None, None]
    )


def looking_at(batch: Batch, azimuth_K: list[float], elevation_K: list[float], mirror_K: list[bool]) -> Batch:
    N, K = batch.azimuth_NK.shape[0], len(azimuth_K)
    return replace(
        batch,
        azimuth_NK=torch.tensor([azimuth_K] * N),
        elevation_NK=torch.tensor([elevation_K] * N),
        fov_NK=torch.full((N, K), math.radians(60)),
        aspect_NK=torch.ones(N, K),
        mirror_NK=torch.tensor([mirror_K] * N),
        jitter_NK4=torch.tensor([1.0, 1, 1, 0]).repeat(N, K, 1),
    )


def dot(azimuth: float, elevation: float, frames: int, height: int = 128) -> Bytes:
    """A white dot of 6° on a dark blue panorama."""
    phi, theta = pixel_directions(height, 2 * height)
    near = (direction_to_vector(phi, theta) @ direction_to_vector(azimuth, elevation)) > math.cos(math.radians(6))
    frame = torch.where(near[..., None], torch.tensor([255, 255, 255]), torch.tensor([10, 20, 60]))
    return np.repeat(frame.numpy().astype(np.uint8)[None], frames, axis=0)


Scene = tuple[Batch, float, float]
DIRECTIONS = [(0.0, 0.0), (1.3, 0.5), (-2.0, -0.9), (math.pi, 0.2)]


@pytest.fixture(scope="module", params=range(len(DIRECTIONS)))
def dot_and_source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Batch, float, float]:
    """A batch of one clip in which a white dot makes noise, and where it is."""
    azimuth, elevation = DIRECTIONS[request.param]
    noise = torch.from_numpy(np.random.default_rng(0).normal(scale=0.1, size=2 * RATE))
    store = write_store(
        tmp_path_factory.mktemp("dot"), [(dot(azimuth, elevation, 2 * FPS), encode(noise, azimuth, elevation).numpy())]
    )
    return next(ClipLoader(store, VIEWS, batch=1).epoch(0)), azimuth, elevation


def test_the_crop_at_a_source_shows_and_hears_it_ahead(dot_and_source: Scene) -> None:
    batch, azimuth, elevation = dot_and_source
    video, audio = Views(VIEWS, AUDIO, RATE)(looking_at(batch, [azimuth] * 2, [elevation] * 2, [False, True]))
    crop_KCTHW = picture(video)[0]
    middle = VIEWS.size // 2
    assert (crop_KCTHW[..., middle, middle] > 0.9).all()
    corner = crop_KCTHW[..., 0, 0].mean(-1)
    torch.testing.assert_close(corner, (torch.tensor([10, 20, 60]) / 255).expand(2, 3), atol=0.03, rtol=0)
    # 6° of 60° in the tangent plane.
    radius = middle * math.tan(math.radians(6)) / math.tan(math.radians(30))
    area = (crop_KCTHW.mean((1, 2)) > 0.5).sum((-2, -1))
    torch.testing.assert_close(area / (math.pi * radius**2), torch.ones(2), atol=0.3, rtol=0)
    intensity_K3 = audio[0, :, 4:].mean((-2, -1))
    torch.testing.assert_close(intensity_K3, torch.tensor([[0.0, 0, 1], [0, 0, 1]]), atol=0.03, rtol=0)


def test_a_mirrored_pair_is_mirrored_in_both(dot_and_source: Scene) -> None:
    """Looking 15° to the right of the source: seen and heard on the left, mirrored on the right."""
    batch, azimuth, elevation = dot_and_source
    aside = azimuth - math.radians(15) / math.cos(elevation)
    video, audio = Views(VIEWS, AUDIO, RATE)(looking_at(batch, [aside] * 2, [elevation] * 2, [False, True]))
    crop_KHW = picture(video)[0].mean((1, 2))
    torch.testing.assert_close(crop_KHW[1], crop_KHW[0].flip(-1), atol=1e-4, rtol=0)
    columns = torch.arange(VIEWS.size) - VIEWS.size // 2
    seen_K = ((crop_KHW > 0.5) * columns).sum((-2, -1)) / (crop_KHW > 0.5).sum((-2, -1))
    heard_K = audio[0, :, Y].mean((-2, -1))
    assert seen_K[0] < -3 < 3 < seen_K[1]
    assert heard_K[0] > 0.15
    assert heard_K[1] < -0.15
    # Both say the same angle: columns of the tangent plane, and Y/X.
    across_K = -seen_K / (VIEWS.size / 2) * math.tan(math.radians(30))
    torch.testing.assert_close(heard_K / audio[0, :, X].mean((-2, -1)), across_K, atol=0.06, rtol=0)
    unmirrored = [c for c in range(7) if c != Y]
    torch.testing.assert_close(audio[0, 0, unmirrored], audio[0, 1, unmirrored], atol=1e-3, rtol=1e-4)


def test_turning_the_sound_field_moves_the_sound_alone(dot_and_source: Scene) -> None:
    batch, azimuth, elevation = dot_and_source
    views, at_source = Views(VIEWS, AUDIO, RATE), looking_at(batch, [azimuth], [0.0], [False])
    turn = yaw(torch.tensor([0.6]))
    video, audio = views(at_source, turn)
    torch.testing.assert_close(audio, views.audio(at_source, turn))
    assert torch.equal(video, views.video(at_source))
    left = audio[0, 0, Y].mean() / math.cos(elevation)
    assert abs(left - math.sin(0.6)) < 0.03


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    store = write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i) for i in range(5)])
    return next(ClipLoader(store, VIEWS, batch=5, moments=2).epoch(0))


def select(batch: Batch, rows_R: Tensor) -> Batch:
    tensors: dict[str, Any] = {f.name: getattr(batch, f.name)[rows_R] for f in fields(Batch) if f.name != "ids"}
    return Batch(**tensors, ids=[batch.ids[row] for row in rows_R.tolist()])


def test_rows_do_not_depend_on_their_neighbours(batch: Batch) -> None:
    """Rows are made some at a time; whatever the number, they are the same."""
    views = Views(VIEWS, AUDIO, RATE)
    video, audio = views(batch)
    reverse = torch.arange(10).flip(0)
    turned = select(batch, reverse)
    video_reversed, audio_reversed = views(turned)
    torch.testing.assert_close(video_reversed.flip(0), video, atol=1e-5, rtol=0)
    torch.testing.assert_close(audio_reversed.flip(0), audio, atol=1e-3, rtol=0)
    one = select(batch, torch.tensor([7]))
    torch.testing.assert_close(views.video(one), video[7:8], atol=1e-5, rtol=0)


def test_half_precision_training_leaves_the_views_alone(batch: Batch) -> None:
    views = Views(VIEWS, AUDIO, RATE)
    video, audio = views(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half_video, half_audio = views(batch)
    assert torch.equal(half_video, video)
    assert torch.equal(half_audio, audio)
    assert not video.requires_grad


def test_gain_raises_every_level_by_its_decibels(batch: Batch) -> None:
    views = Views(VIEWS, AUDIO, RATE)
    unit, double = (views.audio(replace(batch, gain_N=torch.full((10,), gain))) for gain in (1.0, 2.0))
    torch.testing.assert_close(
        double[:, :, :4] - unit[:, :, :4], torch.full_like(unit[:, :, :4], 6.0206), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(double[:, :, 4:], unit[:, :, 4:], atol=1e-4, rtol=0)


def test_statistics_are_taken_off_per_channel_and_band(batch: Batch) -> None:
    plain = Views(VIEWS, AUDIO, RATE).audio(batch)
    mean_CM = np.arange(7 * 24, dtype=np.float32).reshape(7, 24)
    std_CM = np.float32(1) + mean_CM[::-1] / np.float32(10)
    normalised = Views(VIEWS, AUDIO, RATE, Statistics(mean_CM, std_CM)).audio(batch)
    expected = (plain - torch.from_numpy(mean_CM)[:, None]) / torch.from_numpy(std_CM.copy())[:, None]
    torch.testing.assert_close(normalised, expected, atol=1e-3, rtol=1e-5)


def test_evaluation_draws_the_same_crops_without_changing_them(tmp_path: Path) -> None:
    store: ClipStore = write_store(tmp_path, [ordinary_clip(i) for i in range(4)])
    plain = next(ClipLoader(store, without_augmentation(VIEWS), batch=4).epoch(0))
    augmented = next(ClipLoader(store, VIEWS, batch=4).epoch(0))
    assert torch.equal(plain.azimuth_NK, augmented.azimuth_NK)
    assert torch.equal(plain.foa_NCS, augmented.foa_NCS)
    assert not plain.mirror_NK.any()
    assert torch.equal(plain.jitter_NK4, torch.tensor([1.0, 1, 1, 0]).expand(4, 4, 4))
    assert torch.equal(plain.gain_N, torch.ones(4))
    assert augmented.mirror_NK.any()
