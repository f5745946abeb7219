"""Beams, power maps, intensity, and what a signal tells of its channel order."""

import math

import pytest
import torch
from torch import Tensor

from avsa.ambisonics.energy import (
    ORDER_PRIOR,
    PATTERNS,
    beam,
    channel_order_evidence,
    diffuseness,
    direction_of_arrival,
    energy_density,
    guess_order,
    intensity,
    power_map,
)
from avsa.ambisonics.foa import encode, from_acn_sn3d
from avsa.errors import UserError
from avsa.geometry.sphere import angular_distance, direction_to_vector, pixel_directions

DIRECTIONS = [(0.0, 0.0), (2.0, 0.3), (-1.2, -0.9), (3.1, 0.0), (0.4, 1.5)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def diffuse_field(samples: int, waves: int = 300, flatness: float = 1.0, seed: int = 0) -> Tensor:
    """Independent noises from everywhere; a flatness below 1 presses them towards the horizon."""
    generator = torch.Generator().manual_seed(seed)
    azimuth = torch.rand(waves, generator=generator, dtype=torch.float64) * 2 * math.pi
    elevation = torch.asin(torch.rand(waves, generator=generator, dtype=torch.float64) * 2 - 1) * flatness
    signals = torch.randn(waves, samples, generator=generator, dtype=torch.float64)
    return sum(
        (encode(s, a.item(), e.item()) for s, a, e in zip(signals, azimuth, elevation, strict=True)), torch.zeros(())
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_beams_have_their_pattern(pattern: str) -> None:
    p, s = PATTERNS[pattern], noise(50)
    for azimuth, elevation in DIRECTIONS:
        gamma = angular_distance(azimuth, elevation, 1.0, -0.2).item()
        picked_up = beam(encode(s, 1.0, -0.2), azimuth, elevation, pattern)
        torch.testing.assert_close(picked_up, (p + (1 - p) * math.cos(gamma)) * s, atol=1e-6, rtol=0)


def test_hypercardioid_and_supercardioid_are_the_best_of_their_kind() -> None:
    """Over a grid of all first-order patterns: most power on the axis, and from the front half, in a diffuse field."""
    cosine = torch.linspace(-1, 1, 20001, dtype=torch.float64)  # cosγ is uniform over the sphere

    def pick_up(p: float) -> Tensor:
        return (p + (1 - p) * cosine).square()

    grid = torch.linspace(0, 1, 1001).tolist()
    on_axis = min(grid, key=lambda p: pick_up(p).mean().item())
    front_to_back = max(grid, key=lambda p: (pick_up(p)[10001:].mean() / pick_up(p)[:10000].mean()).item())
    assert on_axis == pytest.approx(PATTERNS["hypercardioid"], abs=2e-3)
    assert front_to_back == pytest.approx(PATTERNS["supercardioid"], abs=2e-3)


def test_several_beams_at_once_are_the_beams_one_by_one() -> None:
    foa_BCS = noise(2, 4, 30)
    azimuth, elevation = torch.tensor(DIRECTIONS, dtype=torch.float64).T
    together = beam(foa_BCS, azimuth, elevation)
    for n in range(len(DIRECTIONS)):
        torch.testing.assert_close(together[:, n], beam(foa_BCS, azimuth[n], elevation[n]))


@pytest.mark.parametrize("pattern", ["cardioid", "hypercardioid"])
def test_the_power_map_is_the_power_of_every_beam_and_peaks_at_the_source(pattern: str) -> None:
    for azimuth, elevation in DIRECTIONS:
        foa_CS = encode(noise(200), azimuth, elevation) + 0.1 * noise(4, 200, seed=1)
        map_HW = power_map(foa_CS, 18, 36, pattern)
        azimuth_HW, elevation_HW = pixel_directions(18, 36, dtype=torch.float64)
        for v, u in ((0, 0), (7, 20), (17, 35)):
            power = beam(foa_CS, azimuth_HW[v, u], elevation_HW[v, u], pattern).square().mean()
            torch.testing.assert_close(map_HW[v, u], power)
        peak = map_HW.argmax()
        off = angular_distance(azimuth_HW.flatten()[peak], elevation_HW.flatten()[peak], azimuth, elevation)
        assert off < math.radians(10)


def test_a_plane_wave_has_intensity_towards_its_source_and_no_diffuseness() -> None:
    s = noise(500)
    for azimuth, elevation in DIRECTIONS:
        foa_CS = encode(s, azimuth, elevation)
        towards = direction_to_vector(torch.tensor(azimuth).double(), elevation)
        torch.testing.assert_close(intensity(foa_CS), s.square().mean() * towards, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(energy_density(foa_CS), s.square().mean())
        assert diffuseness(foa_CS).item() == pytest.approx(0, abs=1e-6)
        assert angular_distance(*direction_of_arrival(foa_CS), azimuth, elevation).item() < 1e-6


def test_a_diffuse_field_has_almost_no_intensity() -> None:
    foa_CS = diffuse_field(20000)
    assert diffuseness(foa_CS).item() > 0.9
    powers = foa_CS.square().mean(-1)
    torch.testing.assert_close(powers[1:] / powers[0], torch.full((3,), 1 / 3).double(), atol=0.06, rtol=0)


def test_silence_has_no_direction_and_is_wholly_diffuse() -> None:
    assert diffuseness(torch.zeros(4, 10)).item() == 1
    assert intensity(torch.zeros(4, 10)).tolist() == [0, 0, 0]


def scene(seed: int) -> Tensor:
    """Three sources near the horizon in a diffuse field."""
    generator = torch.Generator().manual_seed(seed)
    mixed = diffuse_field(8192, waves=60, flatness=0.7, seed=seed)
    for n in range(3):
        azimuth, elevation = torch.rand(2, generator=generator).tolist()
        mixed = mixed + 4 * encode(noise(8192, seed=100 * seed + n), 6.3 * azimuth, 0.6 * elevation - 0.3)
    return mixed


@pytest.mark.parametrize("order", ORDER_PRIOR)
def test_channel_orders_of_scenes_are_recognised(order: str) -> None:
    right = [guess_order(from_acn_sn3d(scene(seed), order))[0] == order for seed in range(12)]
    assert sum(right) >= (8 if order == "acn-n3d" else 11)  # N3D is rare, so one recording must be loud about it


def test_evidence_is_a_distribution_and_the_prior_where_there_is_nothing_to_hear() -> None:
    assert sum(channel_order_evidence(scene(0)).values()) == pytest.approx(1)
    assert channel_order_evidence(torch.zeros(4, 4096)) == pytest.approx(ORDER_PRIOR)
    order, probability = guess_order(scene(0))
    assert probability == max(channel_order_evidence(scene(0)).values())
    assert channel_order_evidence(scene(0))[order] == probability


@pytest.mark.parametrize("channels", [4, 6])
@pytest.mark.parametrize("aac", [False, True])
def test_evidence_of_what_is_no_sound_field_is_a_distribution(channels: int, aac: bool) -> None:
    """Without W, or with copies of one signal, no order fits at all: likelihoods far below the smallest number."""
    sound_CS = torch.randn(channels, 8192, generator=torch.Generator().manual_seed(0))
    without_w = sound_CS * torch.tensor([0.0] + [1.0] * (channels - 1))[:, None]
    for wrong_CS in (without_w, sound_CS[:1].expand(channels, -1), sound_CS.flip(0).cumsum(0) * 1e-20):
        evidence = channel_order_evidence(wrong_CS, aac)
        assert sum(evidence.values()) == pytest.approx(1)
        assert min(evidence.values()) >= 0


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(UserError, match="4 channels"):
        guess_order(torch.zeros(5, 100))
    with pytest.raises(UserError, match="'shotgun' is unknown"):
        beam(torch.zeros(4, 10), 0.0, 0.0, "shotgun")
