"""Perspective (gnomonic) crops of equirectangular video, and where to take them.

Shapes: B clips, K viewpoints, T frames, C channels, H×W panorama pixels, h×w crop pixels, N = h·w.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.sphere import direction_to_pixel

MODES = ("bilinear", "nearest")
CACHED = 1 << 17
"""Crop values made in one go: their temporaries stay in the processor's cache, which halves the time."""


def perspective(
    video_TCHW: Tensor,
    azimuth_K: Tensor,
    elevation_K: Tensor,
    fov_K: Tensor,
    size: int | tuple[int, int],
    *,
    aspect_K: Tensor | None = None,
    mode: str = "bilinear",
    mirror_K: Tensor | None = None,
) -> Tensor:
    """Perspective crops `video_KTCHW` of one panoramic video: `perspective_batch` for a single clip."""
    aspect_BK = None if aspect_K is None else aspect_K[None]
    mirror_BK = None if mirror_K is None else mirror_K[None]
    return perspective_batch(
        video_TCHW[None], azimuth_K[None], elevation_K[None], fov_K[None], size,
        aspect_BK=aspect_BK, mode=mode, mirror_BK=mirror_BK,
    )[0]  # fmt: skip


def perspective_batch(
    video_BTCHW: Tensor,
    azimuth_BK: Tensor,
    elevation_BK: Tensor,
    fov_BK: Tensor,
    size: int | tuple[int, int],
    *,
    aspect_BK: Tensor | None = None,
    mode: str = "bilinear",
    mirror_BK: Tensor | None = None,
) -> Tensor:
    """Perspective crops `video_BKTCHW` of panoramic videos, K per clip, by gnomonic projection.

    Args:
        video_BTCHW: equirectangular frames (any aspect ratio), uint8 or floating point; the result has the same dtype,
            uint8 rounded to the nearest grey level.
        azimuth_BK, elevation_BK: the crops' centres in radians.
        fov_BK: true horizontal angle between a crop's left and right edge (not its outer pixel centres), in (0, π).
        size: crop height and width in pixels; one number for a square.
        aspect_BK: tan(horizontal fov/2) / tan(vertical fov/2); by default width / height, that is square pixels.
        mode: "bilinear", or "nearest" for label maps (then any dtype).
        mirror_BK: where true, the crop is flipped left-right; its audio then needs `avsa.ambisonics.foa.mirror`.

    Left and right edge of the panorama are joined; beyond a pole sampling goes on at azimuth + π.

    Raises:
        UserError: unknown mode, other integers than uint8 to interpolate, or a field of view outside (0, π).
    """
    if mode not in MODES:
        raise UserError(f"crop mode {mode!r} is unknown: use one of {', '.join(MODES)}")
    if mode == "bilinear" and not (video_BTCHW.is_floating_point() or video_BTCHW.dtype == torch.uint8):
        raise UserError(f"bilinear crops need uint8 or floating-point pixels, not {video_BTCHW.dtype}: use nearest")
    height, width = (size, size) if isinstance(size, int) else size
    B, T, C, H, W = video_BTCHW.shape
    aspect = torch.full_like(fov_BK, width / height) if aspect_BK is None else aspect_BK
    azimuth_BKN, elevation_BKN = crop_directions(azimuth_BK, elevation_BK, fov_BK, aspect, height, width, mirror_BK)
    u_BKN, v_BKN = direction_to_pixel(azimuth_BKN, elevation_BKN, H, W)
    taps = _nearest_taps(u_BKN, v_BKN, H, W) if mode == "nearest" else _bilinear_taps(u_BKN, v_BKN, H, W)
    K, N = u_BKN.shape[1:]
    video_BKTCN = video_BTCHW.new_empty((B, K, T, C, N))
    together = max(1, CACHED // (T * C * N))
    for b in range(B):
        pixels_TCX = video_BTCHW[b].flatten(-2)
        for start in range(0, K, together):
            k = slice(start, start + together)
            video_BKTCN[b, k] = _mix(pixels_TCX, [tap[b, k] for tap in taps])
    return video_BKTCN.unflatten(-1, (height, width))  # type: ignore[no-any-return]


def crop_directions(
    azimuth_BK: Tensor,
    elevation_BK: Tensor,
    fov_BK: Tensor,
    aspect_BK: Tensor,
    height: int,
    width: int,
    mirror_BK: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation, each (B, K, h·w), that crop pixels look at (arguments: `perspective_batch`)."""
    if not bool(((fov_BK > 0) & (fov_BK < math.pi)).all()):
        raise UserError("a crop's fov must lie between 0 and π radians (180°)")
    half_BK1 = torch.tan(fov_BK / 2)[..., None]
    across_w = 1 - 2 * (torch.arange(width, device=fov_BK.device, dtype=fov_BK.dtype) + 0.5) / width
    down_h = 1 - 2 * (torch.arange(height, device=fov_BK.device, dtype=fov_BK.dtype) + 0.5) / height
    if mirror_BK is None:
        left_BKw = half_BK1 * across_w
    else:
        left_BKw = half_BK1 * torch.where(mirror_BK[..., None], -across_w, across_w)
    up_BKh = half_BK1 / aspect_BK[..., None] * down_h
    # Camera rays are (1, left, up); R_z(φ)·R_y(−θ) turns them to the crop's centre.
    cos_BK1, sin_BK1 = torch.cos(elevation_BK)[..., None], torch.sin(elevation_BK)[..., None]
    forward_BKh1 = (cos_BK1 - up_BKh * sin_BK1)[..., None]
    z_BKh1 = (sin_BK1 + up_BKh * cos_BK1)[..., None]
    left_BK1w = left_BKw[..., None, :]
    azimuth = torch.atan2(left_BK1w, forward_BKh1) + azimuth_BK[..., None, None]
    elevation = torch.atan2(z_BKh1, torch.sqrt(forward_BKh1**2 + left_BK1w**2))
    return azimuth.flatten(-2), elevation.flatten(-2)


def _nearest_taps(u: Tensor, v: Tensor, H: int, W: int) -> list[Tensor]:
    column, row = torch.floor(u + 0.5), torch.floor(v + 0.5).clamp(0, H - 1)
    return [_pixel_index(column, row, W)]


def _bilinear_taps(u: Tensor, v: Tensor, H: int, W: int) -> list[Tensor]:
    """Four pixel indices (upper left, upper right, lower left, lower right), then the weights of right and of low."""
    left, top = torch.floor(u), torch.floor(v)
    corners = []
    for row in (top, top + 1):
        inside = row.clamp(0, H - 1)
        column = left + (row != inside) * (W // 2)  # beyond a pole: the same row again, half a turn on
        corners += [_pixel_index(column, inside, W), _pixel_index(column + 1, inside, W)]
    return [*corners, u - left, v - top]


def _pixel_index(column: Tensor, row: Tensor, W: int) -> Tensor:
    """Index in the flattened panorama of whole-numbered pixels; columns are joined at the seam."""
    # Floats hold these whole numbers exactly, and their arithmetic is many times faster than that of long integers.
    column = column - torch.floor(column / W) * W
    return (row.int() * W + column.int()).long()


def _mix(pixels_TCX: Tensor, taps: list[Tensor]) -> Tensor:
    """Pixels (K, T, C, N) at the taps (K, N): one tap copies, six interpolate."""
    K, N = taps[0].shape
    T, C, X = pixels_TCX.shape

    def at(index_KN: Tensor) -> Tensor:
        return pixels_TCX.expand(K, T, C, X).gather(-1, index_KN[:, None, None].expand(K, T, C, N))

    if len(taps) == 1:
        return at(taps[0])
    work = torch.float64 if pixels_TCX.dtype == torch.float64 else torch.float32
    upper_left, upper_right, lower_left, lower_right = (at(tap).to(work) for tap in taps[:4])
    right, low = (weight.to(work)[:, None, None] for weight in taps[4:])
    crop = upper_left.lerp(upper_right, right).lerp_(lower_left.lerp(lower_right, right), low)
    if pixels_TCX.is_floating_point():
        return crop
    return crop.add_(0.5).to(torch.int16)  # rounds; straight from float to uint8 is four times slower


@dataclass(frozen=True)
class Viewpoints:
    """K crops of each of B clips; what the numbers mean: `perspective_batch`."""

    azimuth_BK: Tensor
    elevation_BK: Tensor
    fov_BK: Tensor
    aspect_BK: Tensor


@dataclass(frozen=True)
class CropSampler:
    """Draws crops at random, every clip's centres at least `min_separation` apart on the sphere.

    Attributes:
        crops: K, crops per clip.
        max_elevation: centres lie within ± this elevation, at most π/2.
        rule: "area": uniform on the sphere's area; "angle": uniform in the elevation angle, denser towards the poles.
        min_separation: least angle between any two centres of one clip.
        fov: range of the horizontal field of view, drawn uniformly.
        aspect: range of the aspect, drawn log-uniformly, so that wide is as likely as tall.

    Raises:
        UserError: on construction, if a range is out of bounds or so many crops do not fit so far apart.
    """

    crops: int = 4
    max_elevation: float = math.radians(60)
    rule: str = "area"
    min_separation: float = math.radians(36)
    fov: tuple[float, float] = (math.radians(25), math.radians(90))
    aspect: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.crops < 1:
            raise UserError(f"crops is {self.crops}: at least 1 is needed")
        if self.rule not in ("area", "angle"):
            raise UserError(f"crop rule {self.rule!r} is unknown: use area or angle")
        if not 0 <= self.max_elevation <= math.pi / 2:
            raise UserError(f"max_elevation is {math.degrees(self.max_elevation):g}°: it must lie between 0° and 90°")
        if not 0 < self.fov[0] <= self.fov[1] < math.pi:
            raise UserError(f"fov range {self.fov} must be increasing and lie between 0 and π radians (180°)")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UserError(f"aspect range {self.aspect} must be positive and increasing")
        self.sample(torch.Generator().manual_seed(0), 64)  # fails here rather than in the middle of training

    def sample(self, generator: torch.Generator, batch: int) -> Viewpoints:
        """Crops for `batch` clips, on the generator's device, the same for the same state of the generator."""
        azimuth_BK, elevation_BK = self._centres(generator, batch)
        fov_BK = _uniform(generator, (batch, self.crops), *self.fov)
        aspect_BK = _uniform(generator, (batch, self.crops), *(math.log(a) for a in self.aspect)).exp()
        return Viewpoints(azimuth_BK, elevation_BK, fov_BK, aspect_BK)

    def _centres(self, generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        centres_BK2 = torch.tensor([self._clip_centres(generator) for _ in range(batch)], device=generator.device)
        return centres_BK2[..., 0], centres_BK2[..., 1]

    def _clip_centres(self, generator: torch.Generator) -> list[tuple[float, float]]:
        # Plain numbers: for a handful of crops tensor operations would take twenty times as long.
        top, too_near = math.sin(self.max_elevation), math.cos(self.min_separation) + 1e-12
        for _ in range(200):  # the crops placed first may leave no room for the rest: then all start afresh
            placed: list[tuple[float, float, float]] = []
            centres: list[tuple[float, float]] = []
            for right, up in _uniform(generator, (16 * self.crops, 2), -1, 1).tolist():
                phi, theta = math.pi * right, math.asin(top * up) if self.rule == "area" else self.max_elevation * up
                x, y, z = math.cos(phi) * math.cos(theta), math.sin(phi) * math.cos(theta), math.sin(theta)
                if all(x * a + y * b + z * c <= too_near for a, b, c in placed):
                    placed.append((x, y, z))
                    centres.append((phi, theta))
                    if len(centres) == self.crops:
                        return centres
        apart, within = math.degrees(self.min_separation), math.degrees(self.max_elevation)
        raise UserError(
            f"{self.crops} crops at least {apart:g}° apart do not fit within ±{within:g}° of elevation: "
            "take fewer crops or a smaller min_separation"
        )


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
