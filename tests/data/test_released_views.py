"""`views.rule: released` from a clip store to the networks' input, against the published formulas in plain NumPy.

Shapes: T frames, H×W panorama pixels, n×n crop pixels, K crops, C channels, S samples, F frequencies, M mel bins.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_clips import RATE, Floats, all_frames, ordinary_clip, write_store

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.batch import Batch
from avsa.data.draw import ViewSampler
from avsa.data.loader import ClipLoader
from avsa.data.statistics import compute_statistics
from avsa.data.views import PICTURE_MEAN, PICTURE_STD, Views, without_augmentation

VIEWS = config.Views(
    rule="released", size=13, frames=3, audio_s=0.5, crops=3, fov_deg=(25.5, 90), aspect=(0.75, 4 / 3), mirror=0.5
)
AUDIO = config.Audio(scale="released", mels=24, window=256, hop=160)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i, frames=10) for i in range(4)])


@pytest.fixture(scope="module")
def batch(store: ClipStore) -> Batch:
    return next(ClipLoader(store, VIEWS, batch=4).epoch(0))


def slow_crop(panorama_HW3: Floats, x: float, y: float, h: float, v: float, n: int) -> Floats:
    """Centre (x, y) as fractions of the image, field of view (h, v) as fractions of 360° and 180°; y grows downward."""
    H, W, _ = panorama_HW3.shape
    rolled = np.roll(panorama_HW3, int((0.5 - x) * W), axis=1)
    latitude_0 = (y - 0.5) * math.pi
    crop = np.zeros((n, n, 3))
    for j in range(n):
        for i in range(n):
            plane_x, plane_y = math.pi * h * (2 * i / n - 1), math.pi / 2 * v * (2 * j / n - 1)
            radius = math.hypot(plane_x, plane_y) or 1e-12
            c = math.atan(radius)
            latitude = math.asin(
                math.cos(c) * math.sin(latitude_0) + plane_y * math.sin(c) * math.cos(latitude_0) / radius
            )
            longitude = math.atan2(
                plane_x * math.sin(c),
                radius * math.cos(latitude_0) * math.cos(c) - plane_y * math.sin(latitude_0) * math.sin(c),
            )
            column, row = (longitude / (2 * math.pi) + 0.5) * W, (latitude / math.pi + 0.5) * H
            left, top = math.floor(column), math.floor(row)
            for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
                weight = (column - left if du else left + 1 - column) * (row - top if dv else top + 1 - row)
                crop[j, i] += weight * rolled[min(top + dv, H - 1), (left + du) % W]
    return np.round(crop)


def doubled(lines_LN: Floats) -> Floats:
    """Twice as many values in each line, by linear interpolation between the middles of the old ones."""
    old = lines_LN.shape[1]
    at = (np.arange(2 * old) + 0.5) / 2 - 0.5
    return np.array([np.interp(at, np.arange(old), line) for line in lines_LN])


def rgb_panorama(batch: Batch, n: int, t: int) -> Floats:
    """One frame in 8-bit RGB; a chroma pixel lies in the middle of its four luma pixels."""
    luma_HW = batch.y_NTHW[n, t].double().numpy()
    chroma_2HW = [doubled(doubled(chroma_hw).T).T for chroma_hw in batch.uv_NT2hw[n, t].double().numpy()]
    planes_HW4 = np.stack([luma_HW, *chroma_2HW, np.ones_like(luma_HW)], axis=-1)
    rgb_HW3: Floats = np.clip(planes_HW4 @ batch.rgb_N34[n].double().numpy().T, 0, 1)
    return np.round(255 * rgb_HW3)


def test_video_is_the_published_crop_of_the_rgb_panorama(store: ClipStore, batch: Batch) -> None:
    plain = replace(batch, jitter_NK4=torch.tensor([1.0, 1, 1, 0]).expand(4, 3, 4))
    video_NKCTHW = Views(VIEWS, AUDIO, RATE).video(plain).numpy()
    assert batch.mirror_NK.any()
    assert not batch.mirror_NK.all()
    for n in range(4):
        frames = all_frames(store.read(store[int(batch.clip_N[n])], "mp4"))
        apart = [np.abs(f.to_ndarray()[: f.height].astype(int) - batch.y_NTHW[n, 0].numpy()).sum() for f in frames]
        first = int(np.argmin(apart))
        for k in range(3):
            azimuth, elevation = float(batch.azimuth_NK[n, k]), float(batch.elevation_NK[n, k])
            fov, aspect = float(batch.fov_NK[n, k]), float(batch.aspect_NK[n, k])
            at = (0.5 - azimuth / (2 * math.pi), 0.5 - elevation / math.pi, fov / (2 * math.pi), fov / aspect / math.pi)
            for t in range(3):
                seen = video_NKCTHW[n, k, :, t].transpose(1, 2, 0) * PICTURE_STD + PICTURE_MEAN
                seen = np.round(255 * (seen[:, ::-1] if batch.mirror_NK[n, k] else seen), 3)
                crop = slow_crop(rgb_panorama(batch, n, t), *at, VIEWS.size)
                assert np.abs(seen - crop).max() <= 1  # a half rounded the other way
                assert (seen == crop).mean() > 0.98
                by_ffmpeg = slow_crop(frames[first + t].to_ndarray(format="rgb24").astype(float), *at, VIEWS.size)
                assert np.abs(seen - by_ffmpeg).mean() < 4  # its chroma filter is a coarser one


def test_sound_is_turned_yaw_last_and_never_mirrored(batch: Batch) -> None:
    views = Views(VIEWS, AUDIO, RATE)
    audio_NKCTM = views.audio(batch)
    assert torch.equal(audio_NKCTM, views.audio(replace(batch, mirror_NK=~batch.mirror_NK)))
    mel_FM = views.features.mel_FM.double().numpy()
    window = np.hanning(257)[:-1]
    for n in range(4):
        foa_CS = batch.foa_NCS[n].double().numpy() * float(batch.gain_N[n])
        for k in range(3):
            x, y = 0.5 - float(batch.azimuth_NK[n, k]) / (2 * math.pi), 0.5 - float(batch.elevation_NK[n, k]) / math.pi
            phi, theta = (1 - 2 * x) * math.pi, (1 - 2 * y) * math.pi / 2
            r_z = [[math.cos(phi), math.sin(phi), 0], [-math.sin(phi), math.cos(phi), 0], [0, 0, 1]]  # R_z(−φ)
            r_y = [[math.cos(theta), 0, math.sin(theta)], [0, 1, 0], [-math.sin(theta), 0, math.cos(theta)]]
            xyz = np.array(r_z) @ np.array(r_y) @ foa_CS[[3, 1, 2]]
            for c, signal in enumerate((foa_CS[0], xyz[1], xyz[2], xyz[0])):
                padded = np.pad(signal, 128)
                frames = np.stack([padded[t * 160 : t * 160 + 256] for t in range(25)])
                levels = 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames * window)) @ mel_FM, 1e-10))
                levels = np.maximum(levels, levels.max() - 100)
                np.testing.assert_allclose(audio_NKCTM[n, k, c].numpy(), levels, atol=2e-3)


def test_centres_are_uniform_in_height_and_keep_no_distance() -> None:
    sample = ViewSampler(VIEWS.model_copy(update={"crops": 4}))
    drawn = [sample(0, 0, 0, clip, 0).viewpoints for clip in range(1500)]
    x_N4 = 0.5 - torch.cat([v.azimuth_BK for v in drawn]) / (2 * math.pi)
    y_N4 = 0.5 - torch.cat([v.elevation_BK for v in drawn]) / math.pi
    for values_N4, low, high in ((x_N4, 0.0, 1.0), (y_N4, 0.33, 0.66)):
        assert low <= values_N4.min() < low + 0.002
        assert high - 0.002 < values_N4.max() <= high
        tenths = torch.histc((values_N4 - low) / (high - low), 10, 0, 1) / 600
        torch.testing.assert_close(tenths, torch.ones(10), atol=0.15, rtol=0)
        assert torch.corrcoef(values_N4.T).fill_diagonal_(0).abs().max() < 0.1
    apart_N = (x_N4[:, 0] - x_N4[:, 1] + 0.5) % 1 - 0.5
    near = (apart_N.abs() < 0.05).float().mean()
    assert abs(near - 0.1) < 0.03  # as many as by chance
    fov = torch.cat([v.fov_BK for v in drawn]).rad2deg()
    assert 25.5 <= fov.min() < 26 < 89.5 < fov.max() <= 90.0001
    assert math.isclose(torch.cat([v.aspect_BK for v in drawn]).log().mean(), 0, abs_tol=0.01)


def test_what_does_not_concern_the_rule_is_drawn_alike(store: ClipStore, batch: Batch) -> None:
    other = next(ClipLoader(store, VIEWS.model_copy(update={"rule": "paper"}), batch=4).epoch(0))
    assert torch.equal(batch.y_NTHW, other.y_NTHW)
    assert torch.equal(batch.foa_NCS, other.foa_NCS)
    assert not torch.equal(batch.elevation_NK, other.elevation_NK)
    plain = next(ClipLoader(store, without_augmentation(VIEWS), batch=4).epoch(0))
    assert torch.equal(plain.elevation_NK, batch.elevation_NK)
    assert not plain.mirror_NK.any()


def test_statistics_are_those_of_the_views(store: ClipStore, tmp_path: Path) -> None:
    """The features of the same clips, crops and moments have the means that the stage writes."""
    statistics = compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / "statistics.npz", progress=False)
    views = without_augmentation(VIEWS)
    audio_NKCTM = Views(views, AUDIO, RATE).audio(next(ClipLoader(store, views, batch=4, shuffle=False).epoch(0)))
    mean_CM = audio_NKCTM.mean((0, 1, 3)).numpy()
    np.testing.assert_allclose(statistics.mean_CM, mean_CM, atol=1e-3)


def test_rows_are_made_alike_whatever_their_number(batch: Batch) -> None:
    views = Views(VIEWS, AUDIO, RATE)
    one = replace(
        batch,
        **{name: getattr(batch, name)[2:3] for name in batch.__dataclass_fields__ if name != "ids"},
        ids=batch.ids[2:3],
    )
    torch.testing.assert_close(views.video(one), views.video(batch)[2:3], atol=1e-6, rtol=0)
