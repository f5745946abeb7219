"""Where the sound of clips comes from, and where their truth says that it does: histograms over the sphere.

Shapes: C = 4 channels W, Y, Z, X; S samples; B short times; E×A fields of the sphere, all of one area; n any number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from avsa.ambisonics.energy import intensity
from avsa.geometry.sphere import angular_distance, direction_to_vector, vector_to_direction

Floats = npt.NDArray[np.float64]

FIELDS = (36, 72)  # in elevation, from below to above, and in azimuth, from −π to π
BLUR = math.radians(8)
BLOCK_S = 0.1


@dataclass(frozen=True)
class Directions:
    """Directions in radians with weights, each of shape (n,)."""

    azimuth: Floats
    elevation: Floats
    weight: Floats

    def field_shares(self) -> Floats:
        """The share of the weight in each of the `FIELDS` (E, A); all zero where there is none."""
        above = np.clip((np.sin(self.elevation) + 1) / 2, 0, 1 - 1e-9)
        around = np.mod(self.azimuth / (2 * math.pi) + 0.5, 1)
        index = (above * FIELDS[0]).astype(int) * FIELDS[1] + (around * FIELDS[1]).astype(int)
        total = self.weight.sum()
        counted = np.bincount(index, self.weight, minlength=FIELDS[0] * FIELDS[1]) / (total or 1)
        shares_EA: Floats = counted.reshape(FIELDS)
        return shares_EA


def density(directions: Directions) -> Floats:
    """The weight per area (E, A) in multiples of an even spread, blurred over `BLUR`: few clips make spots.

    Blurred with the normal distribution's form on the sphere (R. A. Fisher, "Dispersion on a sphere", 1953) of
    concentration 1 / `BLUR`².
    """
    above = np.arcsin((np.arange(FIELDS[0]) + 0.5) / FIELDS[0] * 2 - 1)
    around = ((np.arange(FIELDS[1]) + 0.5) / FIELDS[1] * 2 - 1) * math.pi
    centres_n3 = direction_to_vector(np.tile(around, FIELDS[0]), np.repeat(above, FIELDS[1])).numpy()
    kernel_nn = np.exp((centres_n3 @ centres_n3.T - 1) / BLUR**2)
    blurred = (kernel_nn / kernel_nn.sum(0)) @ directions.field_shares().reshape(-1)
    density_EA: Floats = blurred.reshape(FIELDS) * blurred.size
    return density_EA


def heard(foa_CS: npt.NDArray[np.float32], sample_rate: int) -> Directions:
    """Directions of the acoustic intensity in each `BLOCK_S`, weighted by its length.

    Where one source dominates this is its direction, where several do it is the centre of their energy.
    """
    size = max(1, round(BLOCK_S * sample_rate))
    blocks = foa_CS.shape[1] // size
    foa_BCS = torch.from_numpy(foa_CS[:, : blocks * size]).reshape(4, blocks, size).transpose(0, 1)
    intensity_B3 = intensity(foa_BCS.double())
    azimuth_B, elevation_B = vector_to_direction(intensity_B3)
    return Directions(azimuth_B.numpy(), elevation_B.numpy(), intensity_B3.norm(dim=-1).numpy())


def told(truth: dict[str, Any]) -> Directions:
    """Directions of the truth's sounding objects at all times that it knows, each of the same weight."""
    known = [
        (azimuth, elevation)
        for item in truth.get("objects", [])
        if item.get("sounding")
        for azimuth, elevation in zip(item["azimuth"], item["elevation"], strict=True)
        if azimuth is not None and elevation is not None
    ]
    azimuth, elevation = np.array(known, float).reshape(-1, 2).T
    return Directions(azimuth, elevation, np.ones(len(known)))


def off_by(sound: Directions, truth: dict[str, Any]) -> tuple[Floats, Floats]:
    """The angle from the sound's direction in each `BLOCK_S` to the nearest sounding object, and the weight; radians.

    Times at which no object sounds are left out.
    """
    times = np.array(truth.get("time_s", []), float)
    objects = [item for item in truth.get("objects", []) if item.get("sounding")]
    if not len(times) or not objects:
        return np.zeros(0), np.zeros(0)
    middle = (np.arange(len(sound.weight)) + 0.5) * BLOCK_S
    nearest = np.abs(middle[:, None] - times).argmin(1)
    azimuth, elevation = (
        np.array([[math.nan if angle is None else angle for angle in item[name]] for item in objects])[:, nearest]
        for name in ("azimuth", "elevation")
    )
    angles = angular_distance(azimuth, elevation, sound.azimuth[None], sound.elevation[None]).numpy()
    angles = np.where(np.isnan(angles), math.inf, angles).min(0)
    sounds = np.isfinite(angles)
    return angles[sounds], sound.weight[sounds]


def weighted_median(values: Floats, weight: Floats) -> float:
    """The value that half the weight lies below."""
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def quarters(directions: Directions) -> dict[str, float]:
    """Shares of the weight: ahead, left, behind, right (within 45° of it around the vertical); above and below 30°."""
    total = directions.weight.sum() or 1.0
    quarter = np.floor(np.mod(directions.azimuth / (math.pi / 2) + 0.5, 4)).astype(int)
    shares = {
        name: float(directions.weight[quarter == i].sum() / total)
        for i, name in enumerate(("ahead", "left", "behind", "right"))
    }
    shares["above 30°"] = float(directions.weight[directions.elevation > math.pi / 6].sum() / total)
    shares["below −30°"] = float(directions.weight[directions.elevation < -math.pi / 6].sum() / total)
    return shares
