"""What two ears hear of a first-order sound field: a rigid spherical head, by filters on W and on one figure-of-eight.

The head-related transfer function is the pressure that a plane wave leaves on a rigid sphere, over the pressure that it
would have at the sphere's centre without it: Duda and Martens, "Range dependence of the response of a spherical head
model", J. Acoust. Soc. Am. 104(5), 1998, here for a distant source; ears at ±100° as there. With γ the angle between
the wave and the ear, k = 2πf/c and h_m the outgoing spherical Hankel function,

    H(f, γ) = Σ_m c_m(f) P_m(cos γ),    c_m = i^(m−1) (2m + 1) / ((ka)² h_m'(ka)).

First order knows a sound field only up to P_1, so an ear's signal can be g_0(f)·W + g_1(f)·(figure-of-eight towards the
ear) and nothing else. Up to ka = 1 (624 Hz) g = c, the best fit in amplitude and phase. Above, where first order cannot
meet both, g fits the magnitudes alone and the phase goes on smoothly: magnitude least squares, Schörkhuber, Zaunschirm
and Höldrich, "Binaural rendering of ambisonic signals via magnitude least squares", DAGA 2018.

Limits: a level is the head's within 1.6 dB (RMS over all directions, any frequency), but the bright spot opposite to
the source is lost, so that level differences between the ears are off by 2.5 dB RMS on the horizon. Time differences
are the head's at low frequencies and fade out above ka = 1. A sphere has no pinnae: directions at the same angle from
the ears' axes sound alike.

Time factor e^{+iωt}, that of a discrete Fourier transform: a positive phase is early.

Shapes: F frequencies, N angles or nodes of a quadrature, M orders.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import eval_legendre, spherical_jn, spherical_yn
from torch import Tensor

from avsa.ambisonics.foa import steering

HEAD_RADIUS = 0.0875  # m
SPEED_OF_SOUND = 343.0  # m/s
EAR_AZIMUTH = math.radians(100)  # the left ear's; the right one's is its negative

Floats = npt.NDArray[np.floating]

_NODES = 64  # of the quadrature over cos γ
_STEP = 20.0  # Hz, from one phase to the next that continues it


def ear_axes() -> Tensor:
    """Mixtures (2, 4) of W, Y, Z, X: the figures-of-eight towards the left and the right ear."""
    azimuth = torch.tensor([EAR_AZIMUTH, -EAR_AZIMUTH])
    return steering(azimuth, torch.zeros(2)) * torch.tensor([0.0, 1.0, 1.0, 1.0])


def ear_filters(frequency_F: Floats) -> Tensor:
    """Gains (F, 2), complex, of W and of the figure-of-eight towards an ear (`ear_axes`) at frequencies in Hz; the ears
    are alike."""
    path_F = np.arange(0, np.max(frequency_F) + _STEP, _STEP)
    gain_F2 = _coefficients(path_F, 2)
    cosine_N, weight_N = np.polynomial.legendre.leggauss(_NODES)
    magnitude_FN = np.abs(head_response(path_F, np.arccos(cosine_N)))
    first_order_N2 = np.stack((np.ones(_NODES), cosine_N), axis=1)
    # Legendre polynomials are orthogonal, so least squares is a projection.
    project_2N = first_order_N2.T * weight_N * [[1 / 2], [3 / 2]]
    for i in np.flatnonzero(_ka(path_F) > 1):
        before_N = first_order_N2 @ gain_F2[i - 1]
        gain_F2[i] = project_2N @ (magnitude_FN[i] * before_N / np.abs(before_N))
    return torch.from_numpy(np.stack([np.interp(frequency_F, path_F, gain_F) for gain_F in gain_F2.T], axis=1))


def head_response(frequency_F: Floats, angle_N: Floats) -> npt.NDArray[np.complex128]:
    """H (F, N) of the spherical head at angles (radians) between the wave's direction and the ear; Hz."""
    orders = 20 + math.ceil(1.5 * _ka(frequency_F).max())  # what follows is below rounding
    legendre_MN = eval_legendre(np.arange(orders)[:, None], np.cos(angle_N))
    return _coefficients(frequency_F, orders) @ legendre_MN  # type: ignore[no-any-return]


def _coefficients(frequency_F: Floats, orders: int) -> npt.NDArray[np.complex128]:
    """c_m of the orders 0 ... orders − 1, (F, M)."""
    m, ka_F1 = np.arange(orders), _ka(frequency_F)[:, None]
    with np.errstate(all="ignore"):  # high orders of low frequencies overflow: their coefficients vanish
        derivative = spherical_jn(m, ka_F1, True) - 1j * spherical_yn(m, ka_F1, True)
        coefficient = 1j ** (m - 1.0) * (2 * m + 1) / (ka_F1**2 * derivative)
    coefficient = np.where(np.isfinite(coefficient), coefficient, 0)
    return np.where(ka_F1 > 0, coefficient, m == 0).astype(np.complex128)


def _ka(frequency_F: Floats) -> Floats:
    return 2 * math.pi * HEAD_RADIUS / SPEED_OF_SOUND * np.asarray(frequency_F, dtype=np.float64)
