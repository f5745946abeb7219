"""Audio features: against turning the waveform first, against librosa, and what they keep of direction."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio  # type: ignore[import-untyped]
from torch import Tensor

from avsa.ambisonics.binaural import ear_axes, ear_filters
from avsa.ambisonics.foa import encode, mirror, rotate, turn_to
from avsa.errors import UserError
from avsa.features import FLOOR, KINDS, RELATIVE_FLOOR, AudioFeatures

REFERENCE = Path(__file__).parent / "reference" / "mel.npz"
DEMO: dict[str, Any] = {"sample_rate": 8000, "window": 256, "hop": 160, "mels": 40, "frames": 30}
IDENTITY = torch.eye(4, dtype=torch.float64)[None, None]


def scenes(clips: int = 2, samples: int = 4800) -> Tensor:
    """Two moving noises and a diffuse background per clip, of ordinary level."""
    generator = torch.Generator().manual_seed(0)
    sounds = []
    for _ in range(clips):
        foa_CS = 0.01 * torch.randn(4, samples, generator=generator, dtype=torch.float64)
        for level in (0.1, 0.05):
            noise = level * torch.randn(samples, generator=generator, dtype=torch.float64)
            start, end, elevation = torch.rand(3, generator=generator, dtype=torch.float64) * 3 - 1.5
            path = torch.lerp(start, end, torch.linspace(0, 1, samples, dtype=torch.float64))
            foa_CS = foa_CS + encode(noise, path, elevation.expand(samples))
        sounds.append(foa_CS)
    return torch.stack(sounds)


def viewpoints(clips: int = 2, crops: int = 3) -> Tensor:
    """Turned to random directions; the last one of each clip is mirrored as well."""
    azimuth, elevation = torch.rand(2, clips, crops, generator=torch.Generator().manual_seed(1)).double() * 3 - 1.5
    rotation_BK44 = turn_to(azimuth, elevation)
    rotation_BK44[:, -1] = mirror(dtype=torch.float64) @ rotation_BK44[:, -1]
    return rotation_BK44


def direct(foa_BCS: Tensor, rotation_BK44: Tensor, kind: str, scale: str, config: dict[str, Any]) -> Tensor:
    """The obvious way: turn the waveform, then one short-time transform per viewpoint and signal."""
    turned = rotate(foa_BCS[:, None], rotation_BK44)
    w, y, z, x = turned.unbind(2)
    signals = {"mono": (w,)}.get(kind, (w, y, z, x))
    window = config["window"]
    mel_FM = torchaudio.functional.melscale_fbanks(
        window // 2 + 1, 0.0, config["sample_rate"] / 2, config["mels"], config["sample_rate"], "slaney", "slaney"
    ).double()

    def spectrum(signal_BKS: Tensor) -> Tensor:
        hann = torch.hann_window(window, dtype=torch.float64)
        flat = signal_BKS.flatten(0, 1)
        spectra = torch.stft(flat, window, config["hop"], window=hann, pad_mode="constant", return_complex=True)
        framed: Tensor = spectra[..., : config["frames"]].transpose(-1, -2)
        return framed.reshape(*signal_BKS.shape[:2], *framed.shape[-2:])

    def pooled(values: Tensor) -> Tensor:
        bands: Tensor = values @ mel_FM
        return bands

    spectra = [spectrum(signal) for signal in signals]
    if kind == "stereo":
        omni, eight = ear_filters(np.fft.rfftfreq(window, 1 / config["sample_rate"])).unbind(1)
        left, right = ear_axes().double()
        spectra = [omni * spectrum(w) + eight * spectrum(axis[1] * y + axis[3] * x) for axis in (left, right)]
    energy = sum((pooled(spectrum(s).abs() ** 2) for s in (w, y, z, x)), torch.zeros(())) / 2
    channels = []
    for found in spectra:
        if scale == "power":
            power = torch.maximum(pooled(found.abs() ** 2), RELATIVE_FLOOR * energy)
            channels.append(10 * torch.log10(power.clamp_min(FLOOR)))
        elif scale == "magnitude":
            channels.append(20 * torch.log10(pooled(found.abs()).clamp_min(math.sqrt(FLOOR))))
        else:
            level = 10 * torch.log10(pooled(found.abs()).clamp_min(FLOOR))
            channels.append(torch.maximum(level, level.amax((-2, -1), keepdim=True) - 100))
    if kind == "ambisonics+intensity":
        conjugate = spectrum(w).conj()
        channels += [pooled((conjugate * spectrum(s)).real) / energy.clamp_min(FLOOR) for s in (y, z, x)]
    return torch.stack(channels, dim=2)


@pytest.mark.parametrize("scale", ["power", "magnitude", "released"])
@pytest.mark.parametrize("kind", KINDS)
def test_turning_after_the_transform_equals_turning_before_it(kind: str, scale: str) -> None:
    foa_BCS, rotation_BK44 = scenes(), viewpoints()
    extract = AudioFeatures(kind=kind, scale=scale, **DEMO)
    features = extract(foa_BCS, rotation_BK44)
    expected = direct(foa_BCS, rotation_BK44, kind, scale, DEMO)
    assert features.shape == (2, 3, extract.channels, 30, 40)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)
    single = extract(foa_BCS.float(), rotation_BK44.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=0.01, rtol=0)  # dB: 0.1 % of the quietest bands


def test_single_precision_is_exact_relative_to_the_sound_field() -> None:
    foa_BCS, rotation_BK44 = scenes(), viewpoints()
    expected = direct(foa_BCS, rotation_BK44, "ambisonics+intensity", "power", DEMO)
    features = AudioFeatures(kind="ambisonics+intensity", **DEMO)(foa_BCS.float(), rotation_BK44.float()).double()
    power, exact = 10 ** (features[:, :, :4] / 10), 10 ** (expected[:, :, :4] / 10)
    assert ((power - exact).abs() / exact.sum(2, keepdim=True)).max() < 1e-5
    torch.testing.assert_close(features[:, :, 4:], expected[:, :, 4:], atol=1e-5, rtol=0)


def stored_signals() -> tuple[Tensor, Any]:
    stored = np.load(REFERENCE)
    return torch.from_numpy(stored["signals_16bit"].astype(np.float64) / 32768)[None], stored


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_released_spectra_are_librosas(dtype: torch.dtype) -> None:
    signals_BCS, stored = stored_signals()
    expected_CTM = torch.from_numpy(stored["released_CMT"]).transpose(1, 2)[:, :20]
    features = AudioFeatures(frames=20, scale="released")(signals_BCS.to(dtype), IDENTITY)[0, 0]
    torch.testing.assert_close(features.float(), expected_CTM, atol=1e-3, rtol=0)
    floors = expected_CTM.amin((1, 2))
    assert len(floors.unique()) > 1  # the range below the maximum was each channel's own, and was reached


def test_power_spectra_are_librosas_down_to_the_floors() -> None:
    signals_BCS, stored = stored_signals()
    power_CTM = torch.from_numpy(stored["power_CMT"]).transpose(1, 2)[:, :20].double()
    floor_TM = (RELATIVE_FLOOR * power_CTM.sum(0) / 2).clamp_min(FLOOR)
    features = AudioFeatures(frames=20)(signals_BCS, IDENTITY)[0, 0]
    expected = 10 * torch.log10(torch.maximum(power_CTM, floor_TM))
    torch.testing.assert_close(features, expected, atol=1e-3, rtol=0)


def test_intensity_points_to_the_source_and_mirrors_with_it() -> None:
    noise = torch.randn(4800, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    azimuth, elevation = 0.5, -0.3
    foa_BCS = encode(noise, azimuth, elevation)[None]
    rotation_BK44 = torch.stack((IDENTITY[0, 0], mirror(dtype=torch.float64)))[None]
    features = AudioFeatures(kind="ambisonics+intensity", **DEMO)(foa_BCS, rotation_BK44)
    y = math.sin(azimuth) * math.cos(elevation)
    z, x = math.sin(elevation), math.cos(azimuth) * math.cos(elevation)
    for k, towards in enumerate(((y, z, x), (-y, z, x))):
        expected = torch.tensor(towards, dtype=torch.float64)[:, None, None].expand(3, 30, 40)
        torch.testing.assert_close(features[0, k, 4:], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(features[0, 0, :4], features[0, 1, :4])  # levels alone cannot tell left from right


def test_ears_hear_in_spectra_what_filters_in_time_make_of_the_sound() -> None:
    """Filtering frames one by one is an approximation: the head's response must be short beside the window."""
    noise = torch.randn(24000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    foa_CS = encode(noise, 1.0, 0.4)
    taps = 512
    filter_F2 = ear_filters(np.fft.rfftfreq(taps, 1 / 24000))
    response_2S = torch.fft.irfft(filter_F2, dim=0).roll(taps // 2, 0).T
    heard_2S = []
    for axis_4 in ear_axes().double():
        parts = zip((foa_CS[0], axis_4 @ foa_CS), response_2S, strict=True)
        whole_S = sum((torchaudio.functional.fftconvolve(s, h) for s, h in parts), torch.zeros(()))
        heard_2S.append(whole_S[taps // 2 : taps // 2 + 24000])
    mono = AudioFeatures(kind="mono")
    expected_2TM = torch.stack([mono(ear_S.expand(1, 4, -1), IDENTITY)[0, 0, 0] for ear_S in heard_2S])
    found_2TM = AudioFeatures(kind="stereo")(foa_CS[None], IDENTITY)[0, 0]
    error_2TM = (found_2TM - expected_2TM)[:, 2:-2, mono.mel_FM.sum(0) > 0]  # empty bands are at the floor in both
    assert error_2TM.square().mean().sqrt() < 0.5  # dB
    assert error_2TM.mean((1, 2)).abs().max() < 0.05


def test_ears_turn_with_the_viewpoint() -> None:
    """A source on the left is louder in the left ear; turned to it, both hear the same; mirrored, exchanged."""
    noise = torch.randn(4800, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    turned = turn_to(torch.tensor([0.0, 1.2]).double(), torch.zeros(2).double())
    rotation_BK44 = torch.stack((*turned, mirror(dtype=torch.float64)))[None]
    stereo = AudioFeatures(kind="stereo", **DEMO)
    (left, right), ahead, mirrored = stereo(encode(noise, 1.2, 0.0)[None], rotation_BK44)[0]
    assert (left - right)[:, stereo.mel_FM.sum(0) > 0].mean() > 4
    torch.testing.assert_close(ahead[0], ahead[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored, torch.stack((right, left)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", ["power", "magnitude", "released"])
def test_silence_is_finite(scale: str) -> None:
    features = AudioFeatures(kind="ambisonics+intensity", scale=scale, **DEMO)(torch.zeros(1, 4, 4800), IDENTITY)
    torch.testing.assert_close(features[:, :, :4], torch.full_like(features[:, :, :4], -100))
    assert (features[:, :, 4:] == 0).all()


def test_later_samples_do_not_matter_and_missing_ones_are_zeros() -> None:
    extract, foa_BCS = AudioFeatures(**DEMO), scenes(1, 6000)
    rotation_BK44 = viewpoints(1)
    needed = 29 * 160 + 128
    exact = extract(foa_BCS, rotation_BK44)
    torch.testing.assert_close(extract(foa_BCS[..., :needed], rotation_BK44), exact)
    assert not torch.allclose(extract(foa_BCS[..., : needed - 60], rotation_BK44), exact)
    zeros = torch.nn.functional.pad(foa_BCS[..., : 29 * 160], (0, 128))
    torch.testing.assert_close(extract(foa_BCS[..., : 29 * 160], rotation_BK44), extract(zeros, rotation_BK44))


def test_autocast_does_not_reach_the_features() -> None:
    foa_BCS, rotation_BK44 = scenes().float(), viewpoints().float()
    extract = AudioFeatures(kind="ambisonics+intensity", **DEMO)
    plain = extract(foa_BCS, rotation_BK44)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extract(foa_BCS, rotation_BK44), plain)


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(UserError, match="kind 'binaural'"):
        AudioFeatures(kind="binaural")
    with pytest.raises(UserError, match="scale 'log'"):
        AudioFeatures(scale="log")
    with pytest.raises(UserError, match="has 2"):
        AudioFeatures()(torch.zeros(1, 2, 24000), IDENTITY)
    with pytest.raises(UserError, match="give 51 frames, 100 are wanted"):
        AudioFeatures()(torch.zeros(1, 4, 12000), IDENTITY)
