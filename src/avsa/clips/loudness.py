"""Loudness as people hear it: ITU-R BS.1770-4, annex 1, of one channel.

The filters are analogue prototypes (a shelf above 1.7 kHz for the head, a high-pass at 38 Hz for the ear), brought to
any sampling rate by the bilinear transform; at 48 kHz they are the standard's tables.

Shapes: S samples; N blocks.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating]
Coefficients = tuple[tuple[float, float, float], tuple[float, float, float]]  # of the numerator, of the denominator

GATE = -70.0  # LKFS: what is quieter does not count
_RELATIVE_GATE = 10.0  # LU below the mean of what is left
_HOP_S, _HOPS = 0.1, 4  # blocks of 0.4 s that overlap by three quarters
_RING_S = 0.5  # the filters have died away
_FLOOR = 1e-20


def loudness(sound_S: Samples, sample_rate: int) -> float:
    """Gated loudness in LKFS of a signal with full scale 1; a 997 Hz sine of full scale has −3.01.

    Never less than `GATE`, which stands for sound without a block above it. Of less than 0.4 s, one block is taken.
    """
    hop = round(_HOP_S * sample_rate)
    heard_S = _weighted(sound_S, sample_rate)
    hops = max(1, len(heard_S) // hop)
    power_H = np.square(heard_S[: hops * hop]).reshape(hops, -1).mean(axis=1, dtype=np.float64)
    width = min(_HOPS, hops)
    power_N = np.convolve(power_H, np.full(width, 1 / width), "valid")
    level_N = -0.691 + 10 * np.log10(power_N + _FLOOR)
    kept = level_N > GATE
    if not kept.any():
        return GATE
    kept &= level_N > _level(power_N[kept]) - _RELATIVE_GATE
    return max(GATE, _level(power_N[kept]))


def _level(power_N: Samples) -> float:
    return float(-0.691 + 10 * np.log10(power_N.mean() + _FLOOR))


def k_weighting(sample_rate: int) -> tuple[Coefficients, Coefficients]:
    """The two second-order sections (b, a), shelf and high-pass."""
    k, quality = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    norm = 1 + k / quality + k * k
    shelf = (
        (
            (high + band * k / quality + k * k) / norm,
            2 * (k * k - high) / norm,
            (high - band * k / quality + k * k) / norm,
        ),
        (1.0, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm),
    )
    k, quality = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    norm = 1 + k / quality + k * k
    return shelf, ((1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm))


def _weighted(sound_S: Samples, sample_rate: int) -> Samples:
    """Both filters at once as a product of spectra: what rings beyond the end falls into added silence."""
    size = 1 << math.ceil(math.log2(len(sound_S) + _RING_S * sample_rate))
    spectrum_F = np.fft.rfft(np.asarray(sound_S, np.float32), size)
    return np.asarray(np.fft.irfft(spectrum_F * _response(size, sample_rate), size)[: len(sound_S)])


@lru_cache(maxsize=4)
def _response(size: int, sample_rate: int) -> npt.NDArray[np.complex64]:
    delay_F = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response_F = np.ones_like(delay_F)
    for b, a in k_weighting(sample_rate):
        response_F *= (b[0] + delay_F * (b[1] + delay_F * b[2])) / (a[0] + delay_F * (a[1] + delay_F * a[2]))
    single_F: npt.NDArray[np.complex64] = response_F.astype(np.complex64)
    return single_F
