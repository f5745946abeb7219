"""Log-mel spectrograms and acoustic intensity of first-order ambisonics, turned to many viewpoints after one STFT.

Turning sound is a linear map on its channels, so the transform is done once per clip and the viewpoints are mixed
afterwards. Band powers and intensity depend on the ten products of two channels only: pooled into mel bands they turn
into those of any viewpoint by a small matrix, exactly. Magnitudes do not, nor what ears hear; their spectra are mixed
before pooling.

Shapes: B clips, K viewpoints, C channels, S samples, T frames, F frequencies, M mel bands, P = 10 products of channels,
O output signals.
"""

import math
import warnings

import numpy as np
import torch
import torchaudio  # type: ignore[import-untyped]
from torch import Tensor, nn

from avsa.ambisonics.binaural import ear_axes, ear_filters
from avsa.errors import UserError

KINDS = ("mono", "stereo", "ambisonics", "ambisonics+intensity")
SCALES = ("power", "magnitude", "released")

FLOOR = 1e-10
"""Least band power: −100 dB for a signal of full scale 1."""
RELATIVE_FLOOR = 1e-6
"""Least band power relative to the whole sound field's: what lies lower is rounding left over from turning it."""

# Signals as mixtures of W, Y, Z, X.
_W = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
_SIGNALS = {
    "mono": _W,
    "stereo": torch.cat((_W, ear_axes())),  # which the head filters into two
    "ambisonics": torch.eye(4),
    "ambisonics+intensity": torch.eye(4),
}

_PAIRS = [(i, j) for i in range(4) for j in range(i, 4)]


class AudioFeatures(nn.Module):
    """Spectral features of FOA sound at K viewpoints: called with `foa_BCS` and `rotation_BK44`, gives (B, K, C, T, M).

    The sound is ACN/SN3D; the 4×4 matrices are products of `avsa.ambisonics.foa.turn_to`, `mirror` and the like.

    Frames are centred (frame t around sample t·hop, zeros beyond the ends), under a periodic Hann window; mel bands are
    Slaney's in scale and norm. Values by `scale`:

    - "power": 10·log10 of mel-pooled power; at least −100 dB, and 60 dB below the sound field's power in that band;
    - "magnitude": 20·log10 of mel-pooled magnitude, at least −100 dB;
    - "released": what published checkpoints were trained with, librosa's `power_to_db(melspectrogram(power=1),
      top_db=100)`: 10·log10 of mel-pooled magnitude, at least −100 dB and 100 dB below the channel's own maximum;
      computed in double precision.

    Channels by `kind`: "mono" W; "stereo" what the left and the right ear hear (`avsa.ambisonics.binaural`; the head
    filters spectra, so its response, 99.8 % of it within ±1.3 ms, must be short beside the window); "ambisonics" W, Y,
    Z, X; "ambisonics+intensity" in addition the active intensity Re(W*·(Y, Z, X)) over the energy density
    (W² + Y² + Z² + X²)/2, mel-pooled: a vector from −1 to 1 in ACN order that points to where the energy comes from and
    keeps the sign between channels that powers lose.

    Args:
        sample_rate: Hz.
        window: samples, the transform's length too.
        hop: samples.
        mels: number of mel bands from `fmin` to `fmax` (Hz; by default half the sample rate).
        frames: T, how many frames to give: the first ones.

    Raises:
        UserError: unknown kind or scale; when called, if the sound is too short for `frames` or not four channels.
    """

    mel_FM: Tensor
    signal_O4: Tensor
    head_F2: Tensor
    pairs_2P: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 24000,
        window: int = 512,
        hop: int = 240,
        mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        frames: int = 100,
        kind: str = "ambisonics",
        scale: str = "power",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"audio kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
        if scale not in SCALES:
            raise UserError(f"audio scale {scale!r} is unknown: use one of {', '.join(SCALES)}")
        self.window, self.hop, self.frames, self.scale = window, hop, frames, scale
        self.intensity, self.binaural = kind == "ambisonics+intensity", kind == "stereo"
        with warnings.catch_warnings():
            # Low bands narrower than a frequency bin are empty, here as in librosa: constant, and harmless.
            warnings.filterwarnings("ignore", message="At least one mel filterbank")
            mel_FM = torchaudio.functional.melscale_fbanks(
                window // 2 + 1, fmin, fmax or sample_rate / 2, mels, sample_rate, norm="slaney", mel_scale="slaney"
            )
        self.register_buffer("mel_FM", mel_FM, persistent=False)
        self.register_buffer("signal_O4", _SIGNALS[kind], persistent=False)
        if self.binaural:
            head_F2 = ear_filters(np.fft.rfftfreq(window, 1 / sample_rate)).to(torch.complex64)
            self.register_buffer("head_F2", head_F2, persistent=False)
        self.register_buffer("pairs_2P", torch.tensor(_PAIRS).T, persistent=False)

    @property
    def channels(self) -> int:
        """C of the result."""
        return 2 if self.binaural else len(self.signal_O4) + 3 * self.intensity

    def forward(self, foa_BCS: Tensor, rotation_BK44: Tensor) -> Tensor:
        if foa_BCS.shape[1] != 4:
            raise UserError(f"audio features need 4 channels (W, Y, Z, X), the sound has {foa_BCS.shape[1]}")
        # Single precision drowns the deepest bands, in which librosa's double-precision levels must be met.
        work = torch.float64 if self.scale == "released" else foa_BCS.dtype
        with torch.autocast(foa_BCS.device.type, enabled=False):  # half precision would drown the quiet bands
            return self._features(foa_BCS.to(work), rotation_BK44.to(work)).to(foa_BCS.dtype)

    def _features(self, foa_BCS: Tensor, rotation_BK44: Tensor) -> Tensor:
        signal_BKO4 = self.signal_O4.to(foa_BCS.dtype) @ rotation_BK44
        spectra_BCTF = self._spectra(foa_BCS)
        if self.binaural:
            return self._levels(self._ears(self._mixed(spectra_BCTF, signal_BKO4)), spectra_BCTF)
        if self.scale == "power":
            return self._mixed_products(spectra_BCTF, signal_BKO4, rotation_BK44)
        levels = self._levels(self._mixed(spectra_BCTF, signal_BKO4), spectra_BCTF)
        if not self.intensity:
            return levels
        return torch.cat((levels, self._mixed_products(spectra_BCTF, signal_BKO4[:, :, :0], rotation_BK44)), dim=2)

    def _mixed_products(self, spectra_BCTF: Tensor, signal_BKO4: Tensor, rotation_BK44: Tensor) -> Tensor:
        """Decibels of the signals' mel-pooled powers, then the intensity where it is wanted: (B, K, O [+ 3], T, M)."""
        products_BPTM = self._pooled_products(spectra_BCTF)
        squares = [products_BPTM[:, p] for p, (i, j) in enumerate(_PAIRS) if i == j]
        energy = torch.stack(squares).sum(0)[:, None, None] / 2
        left, right = signal_BKO4, signal_BKO4
        if self.intensity:
            left = torch.cat((left, rotation_BK44[:, :, :1].expand(-1, -1, 3, -1)), dim=2)
            right = torch.cat((right, rotation_BK44[:, :, 1:]), dim=2)
        mixed = self._mix(products_BPTM, left, right)
        powers, intensity = mixed[:, :, : signal_BKO4.shape[2]], mixed[:, :, signal_BKO4.shape[2] :]
        torch.maximum(powers, energy * RELATIVE_FLOOR, out=powers).clamp_min_(FLOOR).log10_().mul_(10)
        intensity /= energy.clamp_min(FLOOR)
        return mixed

    def _spectra(self, foa_BCS: Tensor) -> Tensor:
        """Complex spectra (B, C, T, F) of the frames wanted."""
        B, C, S = foa_BCS.shape
        available = S // self.hop + 1
        if available < self.frames:
            raise UserError(f"{S} samples of sound give {available} frames, {self.frames} are wanted")
        half = self.window // 2
        needed = (self.frames - 1) * self.hop + self.window - half
        padded = nn.functional.pad(foa_BCS.reshape(B * C, S)[:, :needed], (half, max(0, needed - S)))
        hann = torch.hann_window(self.window, dtype=foa_BCS.dtype, device=foa_BCS.device)
        spectra = torch.stft(padded, self.window, self.hop, window=hann, center=False, return_complex=True)
        return spectra.transpose(1, 2).reshape(B, C, self.frames, -1)

    def _pooled_products(self, spectra_BCTF: Tensor) -> Tensor:
        """Mel-pooled real parts of the products of any two channels, (B, P, T, M)."""
        real, imaginary = spectra_BCTF.real.contiguous(), spectra_BCTF.imag.contiguous()
        mel_FM = self.mel_FM.to(real.dtype)
        pooled = [(real[:, i] * real[:, j]).addcmul_(imaginary[:, i], imaginary[:, j]) @ mel_FM for i, j in _PAIRS]
        return torch.stack(pooled, dim=1)

    def _mix(self, products_BPTM: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Products (B, K, n, T, M) of n pairs of signals, each signal a mixture (B, K, n, 4) of the channels."""
        i, j = self.pairs_2P.unbind()
        weights = left[..., i] * right[..., j] + left[..., j] * right[..., i] * (i != j)
        B, K, n, P = weights.shape
        mixed = weights.reshape(B, K * n, P) @ products_BPTM.flatten(2)
        return mixed.reshape(B, K, n, *products_BPTM.shape[2:])

    def _mixed(self, spectra_BCTF: Tensor, signal_BKO4: Tensor) -> Tensor:
        """Spectra (B, K, O, T, F) of the signals."""
        planes = torch.view_as_real(spectra_BCTF).flatten(2)
        mixed = (signal_BKO4.flatten(1, 2) @ planes).reshape(*signal_BKO4.shape[:3], *spectra_BCTF.shape[2:], 2)
        return torch.view_as_complex(mixed)

    def _ears(self, mixed_BK3TF: Tensor) -> Tensor:
        """Spectra of both ears' signals from W and the figures-of-eight towards them."""
        omni_F, eight_F = self.head_F2.to(mixed_BK3TF.dtype).unbind(1)
        return omni_F * mixed_BK3TF[:, :, :1] + eight_F * mixed_BK3TF[:, :, 1:]

    def _levels(self, signals_BKOTF: Tensor, spectra_BCTF: Tensor) -> Tensor:
        """Decibels (B, K, O, T, M) of signals' spectra; `spectra_BCTF` is the sound field that they are part of."""
        magnitude = signals_BKOTF.abs()
        mel_FM = self.mel_FM.to(magnitude.dtype)
        if self.scale == "power":
            energy_BTM = spectra_BCTF.abs().square().sum(1) @ mel_FM / 2
            power = torch.maximum(magnitude.square_() @ mel_FM, energy_BTM[:, None, None] * RELATIVE_FLOOR)
            return power.clamp_min_(FLOOR).log10_().mul_(10)
        pooled = magnitude @ mel_FM
        if self.scale == "magnitude":
            return pooled.clamp_min_(math.sqrt(FLOOR)).log10_().mul_(20)
        levels = pooled.clamp_min_(FLOOR).log10_().mul_(10)
        return torch.maximum(levels, levels.amax((-2, -1), keepdim=True) - 100)
