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


ORDER_PRIOR = {"acn-sn3d": 0.475, "fuma": 0.475, "acn-n3d": 0.05}
_LEVEL_SPREAD = 0.6  # octaves: microphones, rooms and coherent sources shift the level of W by about so much


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


def channel_order_evidence(sound_CS: Tensor) -> dict[str, float]:
    """How probable each order of `ORDER_PRIOR` is, by the signal alone.

    Two facts speak. Level: in any mixture of independent plane waves W has the energy of Y, Z and X together, if the
    normalisation is right. Horizon: most scenes have least energy along the vertical. A wrong order of Y, Z and X alone
    is just a turned scene, so only the second, a habit of the world and no law, tells X, Y, Z from Y, Z, X. Orders that
    do not begin with W are not judged: a scene with sources in front looks much the same with W and X exchanged.

    The probabilities are not calibrated and one recording is evidence only; multiply the likelihoods (probability over
    prior) of a source's many recordings.

    Args:
        sound_CS: (4, S), as found; silence gives the prior.

    Raises:
        UserError: not four channels.
    """
    if sound_CS.ndim != 2 or sound_CS.shape[0] != 4:
        raise UserError(f"channel order can be told of 4 channels, the sound has the shape {tuple(sound_CS.shape)}")
    energy_CO = _octave_energies(sound_CS)
    energy_CO = energy_CO[:, energy_CO.sum(0) > 1e-4 * energy_CO.sum()]
    log_odds = {order: math.log(prior) for order, prior in ORDER_PRIOR.items()}
    if energy_CO.shape[1]:
        for order in log_odds:
            # As amplitudes: the conversion is linear in them and moves and scales channels only.
            w, y, z, x = to_acn_sn3d(energy_CO.sqrt(), order).square().clamp_min(1e-9 * energy_CO.max())
            level = torch.log2((x + y + z) / w).median()
            upright = torch.log2(torch.minimum(x, y) / z).median()
            log_odds[order] += float(torch.nn.functional.logsigmoid(upright) - 0.5 * (level / _LEVEL_SPREAD) ** 2)
    total = math.log(sum(math.exp(value) for value in log_odds.values()))
    return {order: math.exp(value - total) for order, value in log_odds.items()}


def guess_order(sound_CS: Tensor) -> tuple[str, float]:
    """The most probable channel order and its probability: see `channel_order_evidence`."""
    evidence = channel_order_evidence(sound_CS)
    order = max(evidence, key=lambda name: evidence[name])
    return order, evidence[order]


def _octave_energies(sound_CS: Tensor) -> Tensor:
    """Energies (C, 5) in the octaves from 1/256 to 1/8 of the sampling rate, where microphones are at their best."""
    window = torch.hann_window(2048, dtype=sound_CS.dtype, device=sound_CS.device)
    spectra_CFT = torch.stft(sound_CS, 2048, window=window, pad_mode="constant", return_complex=True)
    power_CF = torch.view_as_real(spectra_CFT).square().sum((-1, -2))
    return torch.stack([power_CF[:, 8 << octave : 16 << octave].sum(1) for octave in range(5)], dim=1)
