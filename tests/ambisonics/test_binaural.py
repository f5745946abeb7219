"""The spherical head against Woodworth, Kuhn and the pressure on a sphere; what of it first order keeps.

Shapes: F frequencies, N angles, A azimuths.
"""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import eval_legendre, spherical_jn, spherical_yn

from avsa.ambisonics.binaural import EAR_AZIMUTH, HEAD_RADIUS, SPEED_OF_SOUND, ear_axes, ear_filters, head_response
from avsa.ambisonics.foa import mirror, steering

Floats = npt.NDArray[np.float64]
CROSSING = HEAD_RADIUS / SPEED_OF_SOUND  # seconds that sound takes for the head's radius
GRID = np.arange(257) * 24000 / 512


def ears(azimuth_A: Floats, frequency_F: Floats = GRID) -> npt.NDArray[np.complex128]:
    """What both ears hear (F, A, 2) of plane waves on the horizon, by first order."""
    filter_F2 = ear_filters(frequency_F).numpy()
    wave_A4 = steering(torch.from_numpy(azimuth_A), torch.zeros(len(azimuth_A), dtype=torch.float64)).numpy()
    towards_A2 = wave_A4 @ ear_axes().double().numpy().T
    heard: npt.NDArray[np.complex128] = (
        filter_F2[:, :1, None] * wave_A4[None, :, :1] + filter_F2[:, 1:, None] * towards_A2
    )
    return heard


def head(azimuth_A: Floats, frequency_F: Floats = GRID) -> npt.NDArray[np.complex128]:
    """The same by the whole series."""
    sides = [head_response(frequency_F, np.arccos(np.cos(azimuth_A - ear))) for ear in (EAR_AZIMUTH, -EAR_AZIMUTH)]
    return np.stack(sides, axis=2)


def decibels(response: npt.NDArray[np.complex128]) -> Floats:
    levels: Floats = 20 * np.log10(np.abs(response))
    return levels


def test_the_head_is_the_pressure_on_a_rigid_sphere() -> None:
    """Incident plus scattered wave, order by order, with the particle velocity zero on the surface."""
    for frequency in (200.0, 1500.0, 7000.0):
        ka = 2 * math.pi * frequency * CROSSING
        for angle in (0.0, 0.7, 2.0, math.pi):
            incident, scattered = 0j, 0j
            for m in range(40):
                outgoing, slope = (
                    spherical_jn(m, ka, derivative) - 1j * spherical_yn(m, ka, derivative)
                    for derivative in (False, True)
                )
                part = 1j**m * (2 * m + 1) * eval_legendre(m, math.cos(angle))
                incident += part * spherical_jn(m, ka)
                scattered -= part * spherical_jn(m, ka, True) / slope * outgoing
            assert incident == pytest.approx(np.exp(1j * ka * math.cos(angle)), abs=1e-9)
            found = head_response(np.array([frequency]), np.array([angle]))[0, 0]
            assert found == pytest.approx(incident + scattered, abs=1e-9)


def test_without_frequency_there_is_no_head_and_a_high_one_doubles_the_pressure_in_front() -> None:
    found = head_response(np.array([0.0, 20000.0]), np.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(found[0], 1)
    assert abs(found[1, 0]) == pytest.approx(2, rel=0.02)


def test_time_differences_are_woodworths_at_high_and_kuhns_at_low_frequencies() -> None:
    """Ears opposite to each other, as both formulas have them: (a/c)(θ + sin θ) and (3a/c) sin θ."""
    frequency_F = np.array([100.0, *np.arange(2000.0, 8001, 20)])
    for degrees in (10, 30, 50, 70, 90):
        theta = math.radians(degrees)
        near, far = head_response(frequency_F, np.array([math.pi / 2 - theta, math.pi / 2 + theta])).T
        lead = np.unwrap(np.angle(near / far))
        assert lead[0] / (2 * math.pi * 100) == pytest.approx(3 * CROSSING * math.sin(theta), rel=0.01)
        slope = (lead[-1] - lead[1]) / (2 * math.pi * 6000)
        assert slope == pytest.approx(CROSSING * (theta + math.sin(theta)), rel=0.025)


def test_first_order_keeps_the_time_differences_of_low_frequencies() -> None:
    azimuth_A = np.radians([10.0, 30.0, 60.0, 90.0, 150.0])
    frequency_F = np.array([50.0, 100.0, 200.0])
    for heard in (ears(azimuth_A, frequency_F), head(azimuth_A, frequency_F)):
        lead = np.angle(heard[..., 0] / heard[..., 1]) / (2 * math.pi * frequency_F[:, None])
        kuhn = 3 * CROSSING * math.sin(EAR_AZIMUTH) * np.sin(azimuth_A)
        np.testing.assert_allclose(lead, np.broadcast_to(kuhn, lead.shape), rtol=0.06)


def test_first_order_keeps_levels_at_an_ear() -> None:
    """RMS over the sphere of the difference in decibels, and the power of a diffuse field."""
    angle_N = np.linspace(0, math.pi, 721)
    weight_N = np.sin(angle_N) / np.sin(angle_N).sum()
    rendered = ear_filters(GRID).numpy() @ np.stack((np.ones_like(angle_N), np.cos(angle_N)))
    exact = head_response(GRID, angle_N)
    error_F = np.sqrt((decibels(rendered) - decibels(exact)) ** 2 @ weight_N)
    assert error_F.max() < 1.6
    assert error_F[GRID > 1000].max() < 1.05
    diffuse_F = 10 * np.log10(np.abs(rendered) ** 2 @ weight_N / (np.abs(exact) ** 2 @ weight_N))
    assert np.abs(diffuse_F).max() < 0.25


def test_the_near_ear_hears_more_and_level_differences_grow_with_frequency() -> None:
    azimuth_A = np.radians(np.arange(0.0, 360, 5))
    level_FA2, exact_FA2 = decibels(ears(azimuth_A)), decibels(head(azimuth_A))
    difference_FA = level_FA2[..., 0] - level_FA2[..., 1]
    left = (azimuth_A > 0.01) & (azimuth_A < math.pi - 0.01)
    assert (difference_FA[GRID > 700][:, left] > 0).all()
    assert (np.diff(difference_FA[GRID > 2000][:, azimuth_A == np.radians(90)], axis=0) > 0).all()
    error_FA = difference_FA - (exact_FA2[..., 0] - exact_FA2[..., 1])
    assert np.sqrt(np.mean(error_FA**2)) < 2.6


def test_a_mirrored_field_exchanges_the_ears_and_the_middle_is_equal_in_both() -> None:
    azimuth_A = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(ears(-azimuth_A), ears(azimuth_A)[..., ::-1], rtol=1e-6)
    np.testing.assert_allclose(ear_axes() @ mirror(), ear_axes().flip(0))
    for azimuth in (0.0, math.pi):
        left, right = ears(np.array([azimuth]))[:, 0].T
        np.testing.assert_allclose(left, right, rtol=1e-6)


def test_front_and_back_differ_as_ears_behind_the_middle_make_them() -> None:
    """From behind both ears are nearer to the source: it is louder than from the front."""
    front, back = decibels(ears(np.radians([30.0, 150.0]))).transpose(1, 0, 2)
    exact_front, exact_back = decibels(head(np.radians([30.0, 150.0]))).transpose(1, 0, 2)
    high = GRID > 1000
    assert ((back - front)[high] > 0).all()
    np.testing.assert_allclose((back - front)[high].mean(0), (exact_back - exact_front)[high].mean(0), atol=0.8)


def test_filters_are_short_and_independent_of_the_grid() -> None:
    filter_F2 = ear_filters(GRID).numpy()
    response_S2 = np.roll(np.fft.irfft(filter_F2, axis=0), 256, axis=0)
    energy_S2 = response_S2**2 / (response_S2**2).sum(0)
    assert energy_S2[256 - 31 : 256 + 32].sum(0).min() > 0.998  # ±1.3 ms
    np.testing.assert_allclose(ear_filters(GRID[[5, 40, 200]]).numpy(), filter_F2[[5, 40, 200]])
