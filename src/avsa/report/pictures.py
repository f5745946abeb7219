"""Pictures of what the networks get: panoramas with the borders of their crops, crops with their sound, power maps.

Shapes: C colours or channels, H×W panorama pixels, K viewpoints, P points of a crop's border, T×M feature frames and
mel bands.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from avsa.ambisonics.energy import direction_of_arrival, power_map
from avsa.ambisonics.foa import turn_to
from avsa.config import Audio
from avsa.features import AudioFeatures
from avsa.geometry.crops import Viewpoints, crop_directions, perspective
from avsa.geometry.sphere import direction_to_pixel
from avsa.report.scenes import Scene
from avsa.report.style import CROPS

WIDTH = 720  # pixels of a panorama's picture
SIDE = 240  # pixels of a crop's picture
INTENSITY = "RdBu_r"
LEVEL = "magma"
BEAM = "supercardioid"
_RANGE_DB = 50.0  # what a spectrogram shows below its loudest band
_FRONT_BACK = 6  # channel of the features: intensity along X, after log-mels of W, Y, Z, X and intensity along Y, Z
_HALO = [withStroke(linewidth=4.6, foreground="#000000b0")]

Pixels = npt.NDArray[np.uint8]


def outline(azimuth: Tensor, elevation: Tensor, fov: Tensor, aspect: Tensor, points: int = 48) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation (K, P) along the borders of K crops (each argument K; radians), corner to corner, closed.

    A grid of pixel centres whose outermost lie on the crop's border is the crop of a slightly wider one.
    """
    widened = 2 * torch.atan(torch.tan(fov / 2) * points / (points - 1))
    directions = crop_directions(azimuth[None], elevation[None], widened[None], aspect[None], points, points)
    azimuth_Khw, elevation_Khw = (d[0].reshape(-1, points, points) for d in directions)

    def border(grid: Tensor) -> Tensor:
        left, bottom = grid[:, :, 0].flip(1), grid[:, -1].flip(1)
        return torch.cat((grid[:, 0, :-1], grid[:, :-1, -1], bottom[:, :-1], left), dim=1)

    return border(azimuth_Khw), border(elevation_Khw)


def panorama_with_outlines(scene: Scene, views: Viewpoints, path: Path) -> Path:
    """The panorama with the numbered borders of its first clip's crops in the colours of `avsa.report.style.CROPS`."""
    figure, ax = _panorama_axes(_wide(scene.panorama_CHW))
    azimuth_K, elevation_K = views.azimuth_BK[0], views.elevation_BK[0]
    borders = outline(azimuth_K, elevation_K, views.fov_BK[0], views.aspect_BK[0])
    for k, (azimuth_P, elevation_P) in enumerate(zip(*borders, strict=True)):
        colour = CROPS[k % len(CROPS)]
        u_P, v_P = _at(azimuth_P, elevation_P)
        u_P = u_P - WIDTH * torch.round(u_P.diff(prepend=u_P[:1]) / WIDTH).cumsum(0)  # the line goes on past the seam
        for turn in (-WIDTH, 0, WIDTH):
            ax.plot(u_P + turn, v_P, color=colour, linewidth=2.6, solid_capstyle="round", path_effects=_HALO)
        u0, v0 = _at(azimuth_K[k], elevation_K[k])
        _write(ax, u0, v0, str(k + 1), colour, size=15)
    return _save(figure, path)


def crop_card(scene: Scene, views: Viewpoints, k: int, features_CTM: Tensor, path: Path) -> Path:
    """Crop k over its sound's front–back intensity (red: from ahead, blue: from behind), strong where the sound is."""
    one = slice(k, k + 1)
    crop = perspective(
        scene.panorama_CHW[None], views.azimuth_BK[0, one], views.elevation_BK[0, one], views.fov_BK[0, one],
        SIDE, aspect_K=views.aspect_BK[0, one],
    )[0, 0]  # fmt: skip
    level_MT = _level(features_CTM)
    side_MT = features_CTM[_FRONT_BACK].T.flip(0).numpy()
    colour = colormaps[INTENSITY](0.5 + 0.5 * side_MT)[..., :3]
    shaded = 1 - level_MT[..., None] * (1 - colour)
    stacked = [_hwc(crop), np.full((6, SIDE, 3), 255, np.uint8), _enlarged(shaded, SIDE, SIDE // 2)]
    return _write_pixels(np.concatenate(stacked), path)


def level_picture(features_CTM: Tensor, path: Path) -> Path:
    """Log-mel of W: time to the right, mel bands upwards."""
    return _write_pixels(_enlarged(colormaps[LEVEL](_level(features_CTM))[..., :3], 2 * SIDE, 2 * SIDE), path)


def viewpoint_features(scene: Scene, views: Viewpoints, audio: Audio) -> Tensor:
    """Log-mels of W, Y, Z, X, then intensity along Y, Z, X, at the first clip's viewpoints: (K, 7, T, M)."""
    extract = AudioFeatures(
        sample_rate=scene.sample_rate,
        window=audio.window,
        hop=audio.hop,
        mels=audio.mels,
        frames=scene.foa_CS.shape[-1] // audio.hop,
        kind="ambisonics+intensity",
    )
    features_BKCTM: Tensor = extract(scene.foa_CS[None], turn_to(views.azimuth_BK, views.elevation_BK))
    return features_BKCTM[0]


class Heard(NamedTuple):
    """What a power map says: the estimated direction in radians, and how far the map's extremes are apart."""

    azimuth: float
    elevation: float
    contrast_db: float


def power_picture(scene: Scene, path: Path) -> Heard:
    """Beam power over a grey panorama, rings on the true sources, a cross on the direction of the mean intensity."""
    grey_HWC = _hwc(_wide(scene.panorama_CHW)).mean(-1, keepdims=True).repeat(3, -1) / 255
    power_HW = power_map(scene.foa_CS, 90, 180, BEAM)
    low, high = power_HW.min().clamp_min(1e-20), power_HW.max().clamp_min(1e-20)
    power_HW = (power_HW - low) / (high - low).clamp_min(1e-20)
    share = _enlarged(power_HW[..., None].expand(-1, -1, 3).numpy(), WIDTH, WIDTH // 2)[..., :1] / 255
    warm = colormaps["inferno"](0.25 + 0.7 * share[..., 0])[..., :3]
    opacity = 0.75 * share
    mixed = (0.35 + 0.65 * grey_HWC) * (1 - opacity) + warm * opacity
    figure, ax = _panorama_axes(torch.from_numpy((mixed * 255).round().astype(np.uint8)).permute(2, 0, 1))
    for source in scene.sources or ():
        u, v = _at(torch.tensor(source.azimuth), torch.tensor(source.elevation))
        ax.plot(u, v, "o", markersize=22, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2.2,
                path_effects=_HALO)  # fmt: skip
        _write(ax, u, v + (29 if v < WIDTH / 2 - 50 else -29), source.name, "white", size=12)
    azimuth, elevation = direction_of_arrival(scene.foa_CS)
    u, v = _at(azimuth, elevation)
    ax.plot(u, v, "x", markersize=11, markeredgewidth=2.6, color="#37e0ff", path_effects=_HALO)
    _save(figure, path)
    return Heard(float(azimuth), float(elevation), 10 * math.log10(float(high / low)))


def _level(features_CTM: Tensor) -> npt.NDArray[np.floating]:
    """Log-mel of W as M×T in [0, 1], high bands on top."""
    level_MT = features_CTM[0].T.flip(0)
    return ((level_MT - level_MT.max()) / _RANGE_DB + 1).clamp(0, 1).numpy()


def _at(azimuth: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
    return direction_to_pixel(azimuth, elevation, WIDTH // 2, WIDTH)


def _wide(panorama_CHW: Tensor) -> Tensor:
    image = Image.fromarray(_hwc(panorama_CHW)).resize((WIDTH, WIDTH // 2), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _panorama_axes(panorama_CHW: Tensor) -> tuple[Figure, Axes]:
    """A figure of exactly the panorama's pixels, in whose axes coordinates are pixels."""
    height, width = panorama_CHW.shape[-2:]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(_hwc(panorama_CHW), interpolation="nearest")
    ax.set_axis_off()
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    return figure, ax


def _write(ax: Axes, u: Tensor, v: Tensor, text: str, colour: str, size: int) -> None:
    inside = float(u.clamp(40, WIDTH - 40)), float(v.clamp(16, WIDTH / 2 - 16))
    ax.text(*inside, text, color=colour, size=size, weight="bold", ha="center", va="center", path_effects=_HALO)


def _hwc(image_CHW: Tensor) -> Pixels:
    return image_CHW.permute(1, 2, 0).contiguous().numpy()


def _enlarged(image_HWC: npt.NDArray[np.floating], width: int, height: int) -> Pixels:
    pixels = (image_HWC.clip(0, 1) * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _write_pixels(pixels: Pixels, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, optimize=True)
    return path


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def degrees(azimuth: float, elevation: float) -> str:
    """A direction in words: `35° left, 12° up`."""
    a, e = round(math.degrees(azimuth)), round(math.degrees(elevation))
    across = "ahead" if a == 0 else f"{abs(a)}° {'left' if a > 0 else 'right'}"
    return across if e == 0 else f"{across}, {abs(e)}° {'up' if e > 0 else 'down'}"
