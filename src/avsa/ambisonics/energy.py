"""Where the energy of a sound field comes from: beams, power maps, intensity, and what they say of the channel order.

First-order ambisonics, ACN/SN3D; axes and angles as in `avsa.geometry.sphere`. Time averages are over all samples.

Shapes: C = 4 channels W, Y, Z, X; S samples; H×W pixels of an equirectangular map; `...` any leading shape.
"""

import math

import torch
from torch import Tensor

from avsa.ambisonics.foa import steering, to_acn_sn3d
from avsa.errors import UserError
from avsa.geometry.sphere import Angle, pixel_directions, vector_to_direction

# A first-order beam is p + (1 − p)·cosγ, γ the angle off its axis.
PATTERNS = {
    "omni": 1.0,
    "subcardioid": 0.7,
    "cardioid": 0.5,
    "supercardioid": (math.sqrt(3) - 1) / 2,  # the most energy from the front half, of a diffuse field
    "hypercardioid": 0.25,  # the most energy from the axis, of a diffuse field
    "figure-eight": 0.0,
}


# How common the orders are. YouTube's own exist in AAC alone, in which B-format is rare.
ORDER_PRIOR = {"acn-sn3d": 0.475, "fuma": 0.475, "acn-n3d": 0.05}
AAC_PRIOR = {"acn-sn3d": 0.6, "youtube-aac4": 0.35, "acn-n3d": 0.03, "fuma": 0.02}
SIX_PRIOR = {"youtube-aac6": 0.5, "acn-sn3d": 0.2, "surround": 0.3}  # acn-sn3d: then head-locked stereo
_LEVEL_SPREAD = 0.6  # octaves: microphones, rooms and coherent sources shift the level of W by about so much
_ANY_SPREAD = 2.0  # octaves: between channels that are no sound field


def beam_weights(azimuth: Angle, elevation: Angle, pattern: str = "cardioid") -> Tensor:
    """Weights (..., 4) of W, Y, Z, X for a beam towards (φ, θ) with gain 1 on its axis.

    Raises:
        UserError: unknown pattern.
    """
    if pattern not in PATTERNS:
        raise UserError(f"beam pattern {pattern!r} is unknown: use one of {', '.join(PATTERNS)}")
    p = PATTERNS[pattern]
    weights = (1 - p) * steering(azimuth, elevation)
    weights[..., 0] = p
    return weights


def beam(foa_CS: Tensor, azimuth: Angle, elevation: Angle, pattern: str = "cardioid") -> Tensor:
    """The signal of a virtual microphone: (..., S) for one direction, (..., n, S) for n directions."""
    weights = beam_weights(azimuth, elevation, pattern).to(foa_CS)
    return torch.einsum("...cs,c->...s" if weights.ndim == 1 else "...cs,nc->...ns", foa_CS, weights)


def covariance(foa_CS: Tensor) -> Tensor:
    """Time-averaged products (..., 4, 4) of the channels."""
    return foa_CS @ foa_CS.transpose(-1, -2) / foa_CS.shape[-1]


def power_map(foa_CS: Tensor, height: int, width: int, pattern: str = "cardioid") -> Tensor:
    """Mean power (..., H, W) of beams towards every pixel of an equirectangular image."""
    azimuth_HW, elevation_HW = pixel_directions(height, width, device=foa_CS.device, dtype=foa_CS.dtype)
    weights_HW4 = beam_weights(azimuth_HW, elevation_HW, pattern)
    return ((covariance(foa_CS)[..., None, None, :, :] @ weights_HW4[..., None])[..., 0] * weights_HW4).sum(-1)


def intensity(foa_CS: Tensor) -> Tensor:
    """Time-averaged acoustic intensity (..., 3) = mean of W·(X, Y, Z): along x, y, z **towards** the source.

    A plane wave of mean square p² has length p²; a diffuse field has length 0.
    """
    w, y, z, x = foa_CS.unbind(-2)
    return torch.stack([(w * axis).mean(-1) for axis in (x, y, z)], dim=-1)


def energy_density(foa_CS: Tensor) -> Tensor:
    """Time-averaged energy density (...): the mean of (W² + X² + Y² + Z²)/2, which is p² for a plane wave."""
    return foa_CS.square().mean(-1).sum(-1) / 2


def diffuseness(foa_CS: Tensor) -> Tensor:
    """1 − |intensity| / energy density (...): 0 for one plane wave, 1 for a diffuse field and for silence.

    Source: Pulkki, "Spatial sound reproduction with directional audio coding", J. Audio Eng. Soc. 55(6), 2007.
    """
    density = energy_density(foa_CS)
    directed = intensity(foa_CS).square().sum(-1).sqrt()
    return 1 - directed / density.clamp_min(torch.finfo(density.dtype).tiny)


def direction_of_arrival(foa_CS: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth and elevation (...) of the time-averaged intensity: of one source, or of the energy's centre."""
    return vector_to_direction(intensity(foa_CS))


def channel_order_evidence(sound_CS: Tensor, aac: bool = False) -> dict[str, float]:
    """How probable each order is, by the signal alone.

    Two facts speak. Level: in any mixture of independent plane waves W has the energy of Y, Z and X together, if the
    normalisation is right. Horizon: most scenes have least energy along the vertical. A wrong order of Y, Z and X alone
    is just a turned scene, so only the second, a habit of the world and no law, tells X, Y, Z from Y, Z, X. Both speak
    loudly where an order that does not begin with W is taken for ACN: then W, which has most, is heard as the vertical.
    Between `fuma` and `youtube-aac4`, W and X exchanged, they decide only for sources that are not mostly in front.

    The probabilities are not calibrated and one recording is evidence only; multiply the likelihoods (probability over
    prior) of a source's many recordings.

    Args:
        sound_CS: (4, S) or (6, S), as found; silence gives the prior.
        aac: the sound was AAC, in which other orders are common.

    Returns:
        Probabilities of the orders in `ORDER_PRIOR`; for AAC in `AAC_PRIOR`; for six channels in `SIX_PRIOR`, where
        `acn-sn3d` has head-locked stereo behind it and `surround` is no sound field.

    Raises:
        UserError: neither four nor six channels.
    """
    if sound_CS.ndim != 2 or sound_CS.shape[0] not in (4, 6):
        raise UserError(
            f"channel order can be told of 4 channels or 6, the sound has the shape {tuple(sound_CS.shape)}"
        )
    prior = order_prior(sound_CS.shape[0], aac)
    energy_CO = _octave_energies(sound_CS)
    energy_CO = energy_CO[:, energy_CO.sum(0) > 1e-4 * energy_CO.sum()]
    log_odds = {order: math.log(value) for order, value in prior.items()}
    if energy_CO.shape[1]:
        for order in log_odds:
            level, upright = _level_and_upright(energy_CO, "youtube-aac6" if order == "surround" else order)
            if order == "surround":
                log_odds[order] += math.log(0.5 * _LEVEL_SPREAD / _ANY_SPREAD) - 0.5 * (level / _ANY_SPREAD) ** 2
            else:
                log_odds[order] -= math.log1p(math.exp(-upright)) + 0.5 * (level / _LEVEL_SPREAD) ** 2
    most = max(log_odds.values())  # what is no sound field, such as an empty W, is very unlikely in all of them
    total = most + math.log(sum(math.exp(value - most) for value in log_odds.values()))
    return {order: math.exp(value - total) for order, value in log_odds.items()}


def order_prior(channels: int, aac: bool = False) -> dict[str, float]:
    """The orders that sound of so many channels may be in, and how probable each is before it is heard."""
    return SIX_PRIOR if channels == 6 else AAC_PRIOR if aac else ORDER_PRIOR


def _level_and_upright(energy_CO: Tensor, order: str) -> tuple[float, float]:
    """In octaves, medians over the bands: energy of Y, Z and X over W's, and the lesser of X and Y over Z."""
    amplitude_CO = energy_CO.sqrt()  # the conversion is linear in amplitudes and moves and scales channels only
    if order == "acn-sn3d":
        amplitude_CO = amplitude_CO[:4]
    w, y, z, x = to_acn_sn3d(amplitude_CO, order).square().clamp_min(1e-9 * energy_CO.max())
    return float(torch.log2((x + y + z) / w).median()), float(torch.log2(torch.minimum(x, y) / z).median())


def guess_order(sound_CS: Tensor, aac: bool = False) -> tuple[str, float]:
    """The most probable channel order and its probability: see `channel_order_evidence`."""
    evidence = channel_order_evidence(sound_CS, aac)
    order = max(evidence, key=lambda name: evidence[name])
    return order, evidence[order]


def _octave_energies(sound_CS: Tensor) -> Tensor:
    """Energies (C, 5) in the octaves from 1/256 to 1/8 of the sampling rate, where microphones are at their best."""
    window = torch.hann_window(2048, dtype=sound_CS.dtype, device=sound_CS.device)
    spectra_CFT = torch.stft(sound_CS, 2048, window=window, pad_mode="constant", return_complex=True)
    power_CF = torch.view_as_real(spectra_CFT).square().sum((-1, -2))
    return torch.stack([power_CF[:, 8 << octave : 16 << octave].sum(1) for octave in range(5)], dim=1)
