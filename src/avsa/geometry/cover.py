"""Overlapping perspective views that cover the whole sphere, and values of views put back onto the panorama.

Shapes: V views, T frames, C channels, H×W panorama pixels with W = 2H, h×w view pixels, P panorama pixels in a view.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from avsa.errors import UserError
from avsa.geometry.crops import perspective
from avsa.geometry.sphere import pixel_directions

_FLOOR = 1e-3  # of a weight: what only a view's border sees still counts


class Cover:
    """Square views on rings of elevation from pole to pole.

    Neighbouring rings, and neighbouring centres at the widest place of a ring's band, lie at most fov · (1 − overlap)
    apart; at each pole there is one view.

    Args:
        fov: radians, horizontal and vertical.
        size: pixels along a view's side.
        overlap: share of a view's angle, in [0, 1).
        height: H of the panorama that values are put back onto.

    Attributes:
        azimuth_V, elevation_V: the views' centres in radians.

    Raises:
        UserError: the views leave a hole.
    """

    def __init__(
        self, fov: float, size: int, overlap: float, height: int, device: torch.device | str | None = None
    ) -> None:
        self.fov, self.size, self.height = fov, size, height
        centres = _centres(fov * (1 - overlap))
        self.azimuth_V, self.elevation_V = (
            torch.tensor(column, device=device) for column in zip(*centres, strict=True)
        )
        azimuth_HW, elevation_HW = pixel_directions(height, 2 * height, dtype=torch.float64)
        total_X = torch.zeros(azimuth_HW.numel(), dtype=torch.float64)
        seen = []
        for azimuth, elevation in centres:
            right_X, down_X = _plane(azimuth_HW.flatten() - azimuth, elevation_HW.flatten(), elevation, fov)
            pixel_P = torch.nonzero(torch.maximum(right_X.abs(), down_X.abs()) <= 1 + 1e-9).squeeze(1)
            right_P, down_P = right_X[pixel_P], down_X[pixel_P]
            weight_P = ((1 - right_P.abs()) * (1 - down_P.abs())).clamp(min=0) + _FLOOR
            total_X[pixel_P] += weight_P
            seen.append((pixel_P, torch.stack((right_P, down_P), -1), weight_P))
        if bool((total_X == 0).any()):
            raise UserError(
                f"views {math.degrees(fov):g}° wide that overlap by {overlap:g} leave holes: take a larger overlap"
            )
        self._seen = [
            (pixel_P.to(device), place_P2.float().to(device), (weight_P / total_X[pixel_P]).float().to(device))
            for pixel_P, place_P2, weight_P in seen
        ]

    def __len__(self) -> int:
        return len(self._seen)

    def look(self, video_TCHW: Tensor) -> Tensor:
        """The views `video_TVChw` of panoramic frames of any size; dtype as in `avsa.geometry.crops.perspective`."""
        fov_V = torch.full_like(self.azimuth_V, self.fov)
        return perspective(video_TCHW, self.azimuth_V, self.elevation_V, fov_V, self.size).transpose(0, 1)

    def put_back(self, panorama_CHW: Tensor, view: int, values_Chw: Tensor) -> None:
        """Add one view's values, of any resolution, to the panorama, each pixel by the view's share in it.

        A pixel takes the value at its place in the view (bilinear). Its views' shares sum to 1 and are in proportion to
        (1 − |x|)(1 − |y|), with x and y from −1 to 1 across the view: least at the border, where a network sees little
        of the surroundings.
        """
        pixel_P, place_P2, share_P = self._seen[view]
        values_CP = F.grid_sample(
            values_Chw[None], place_P2[None, None], mode="bilinear", padding_mode="border", align_corners=False
        )[0, :, 0]
        panorama_CHW.flatten(1).index_add_(1, pixel_P, values_CP * share_P)


def _centres(step: float) -> list[tuple[float, float]]:
    """Azimuth and elevation of the views, neighbours at most `step` apart."""
    gaps = max(2, _ceil(math.pi / step))
    centres = [(0.0, -math.pi / 2)]
    for ring in range(1, gaps):
        elevation = math.pi * (ring / gaps - 0.5)
        widest = math.cos(max(0.0, abs(elevation) - math.pi / (2 * gaps)))
        count = _ceil(2 * math.pi * widest / step)
        centres += [(2 * math.pi * i / count, elevation) for i in range(count)]
    return [*centres, (0.0, math.pi / 2)]


def _ceil(number: float) -> int:
    return math.ceil(number - 1e-9)


def _plane(azimuth_X: Tensor, elevation_X: Tensor, centre: float, fov: float) -> tuple[Tensor, Tensor]:
    """Places in a view of directions (azimuths relative to the view's): to the right and down, ±1 at its edges; far
    outside for what lies behind it."""
    flat_X, up_X = torch.cos(elevation_X), torch.sin(elevation_X)
    ahead_X, left_X = torch.cos(azimuth_X) * flat_X, torch.sin(azimuth_X) * flat_X
    forward_X = ahead_X * math.cos(centre) + up_X * math.sin(centre)
    above_X = up_X * math.cos(centre) - ahead_X * math.sin(centre)
    scale_X = math.tan(fov / 2) * torch.where(forward_X > 1e-9, forward_X, 1e-9)
    return -left_X / scale_X, -above_X / scale_X
