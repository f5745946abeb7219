"""What a clip's sound is measured for: level and loudness, whether it is spatial, and what comes from no direction.

Plain first-order ambisonics, ACN/SN3D, on the clip's own sampling rate. Independent plane waves leave in Y, Z and X
together the energy that they leave in W: most figures say how far a recording is from that.

Shapes: C = 4 channels W, Y, Z, X; S samples; T frames of about 1/16 s; F frequencies; B bands.
"""

from __future__ import annotations

import math

import numpy as np

from avsa.clips.loudness import loudness
from avsa.clips.sound import Samples

_FLOOR = 1e-20  # keeps the logarithm of digital silence finite: -200 dB
_EMPTY = 1e-4  # energy against W: a channel below is empty
_FRAMES_PER_S = 16
_LOW_HZ, _BANDS = 100.0, 12  # below, microphones hear themselves and the wind
_NOWHERE = 0.1  # of a plane wave's directional energy: a tile with less has no direction


def sound_figures(foa_CS: Samples, sample_rate: int) -> dict[str, float]:
    """Figures of the sound.

    - `rms_db`: level of W. `loudness`: of W, in LKFS (`avsa.clips.loudness`).
    - `spatial_db`: energy of Y, Z and X against W. About 0 in SN3D, 3 where FuMa and 4.8 where N3D was taken for it.
    - `vertical_db`: energy of Z against the lesser of X and Y; mostly below 0 if Z is where it should be.
    - `mono_correlation`, `mono_gain`: the smallest |correlation| of Y, Z, X with W, and the length of their gains.
    - `third_signal`: third eigenvalue of the channels' correlations. 0 where all that is heard are two signals.
    - `directional`: how many of Y, Z and X are not empty.
    - `diffuseness`: 1 − |intensity| / energy density, over the whole clip (`avsa.ambisonics.energy.diffuseness`).
    - `directionless`: share of W's energy in those tiles of time and frequency (every other 1/16 s; 12 bands) where Y,
      Z and X hold less than a tenth of it. Waves from anywhere, diffuse ones too, leave as much there as in W; a voice
      mixed into W alone leaves nothing.
    """
    sound_CS = foa_CS.astype(np.float64)
    covariance_CC = sound_CS @ sound_CS.T / max(1, sound_CS.shape[1])
    energy_C = np.diag(covariance_CC) + _FLOOR
    correlation_CC = np.abs(covariance_CC) / np.sqrt(energy_C[:, None] * energy_C)
    heard_C = energy_C > _EMPTY * energy_C[0]
    intensity = float(np.linalg.norm(covariance_CC[0, 1:]))
    signed_CC = covariance_CC / np.sqrt(energy_C[:, None] * energy_C) * np.outer(heard_C, heard_C)
    return {
        "rms_db": float(10 * np.log10(energy_C[0])),
        "loudness": loudness(foa_CS[0], sample_rate),
        "spatial_db": float(10 * np.log10(energy_C[1:].sum() / energy_C[0])),
        "vertical_db": float(10 * np.log10(energy_C[2] / min(energy_C[1], energy_C[3]))),
        "mono_correlation": float(correlation_CC[0, 1:].min()),
        "mono_gain": intensity / float(energy_C[0]),
        "third_signal": max(0.0, float(np.linalg.eigvalsh(signed_CC)[1])),
        "directional": float(heard_C[1:].sum()),
        "diffuseness": 1 - 2 * intensity / float(energy_C.sum()),
        "directionless": _directionless(foa_CS, sample_rate),
    }


def _directionless(foa_CS: Samples, sample_rate: int) -> float:
    length = 1 << round(math.log2(sample_rate / _FRAMES_PER_S))
    frames = foa_CS.shape[1] // length
    if not frames:
        return 0.0
    pieces_CTS = foa_CS[:, : frames * length].reshape(4, frames, length)[:, ::2]
    spectrum_CTF = np.fft.rfft(pieces_CTS * np.hanning(length).astype(np.float32), axis=2)
    power_CTF = np.square(spectrum_CTF.real) + np.square(spectrum_CTF.imag)
    first = max(1, round(_LOW_HZ * length / sample_rate))
    edges = np.unique(np.geomspace(first, max(first + 1, 0.9 * power_CTF.shape[2]), _BANDS + 1).round().astype(int))
    energy_CTB = np.add.reduceat(power_CTF[:, :, : edges[-1]], edges[:-1], axis=2)
    total = float(energy_CTB[0].sum())
    if total == 0:
        return 0.0
    nowhere_TB = energy_CTB[1:].sum(axis=0) < _NOWHERE * energy_CTB[0]
    return float(energy_CTB[0][nowhere_TB].sum()) / total
