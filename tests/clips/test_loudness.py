"""Loudness against the standard's own numbers, a loop over samples, and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio  # type: ignore[import-untyped]

from avsa.clips.loudness import GATE, k_weighting, loudness

RATE = 48000
TABLES = (  # ITU-R BS.1770-4, tables 1 and 2: 48 kHz
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)


def sine(seconds: float, hertz: float = 997.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def by_the_standard(sound: np.ndarray) -> float:
    """Sample by sample with the tables' filters, block by block with both gates; 48 kHz."""
    for (b0, b1, b2), (_, a1, a2) in TABLES:
        out = np.zeros_like(sound)
        for n in range(len(sound)):
            x1, x2 = (sound[n - 1] if n > 0 else 0.0), (sound[n - 2] if n > 1 else 0.0)
            y1, y2 = (out[n - 1] if n > 0 else 0.0), (out[n - 2] if n > 1 else 0.0)
            out[n] = b0 * sound[n] + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
        sound = out
    powers = [float(np.mean(sound[at : at + 19200] ** 2)) for at in range(0, len(sound) - 19200 + 1, 4800)]
    loud = [p for p in powers if -0.691 + 10 * np.log10(p) > -70]
    relative = -0.691 + 10 * np.log10(np.mean(loud)) - 10
    return float(-0.691 + 10 * np.log10(np.mean([p for p in loud if -0.691 + 10 * np.log10(p) > relative])))


def test_the_filters_are_the_standards() -> None:
    for ours, table in zip(k_weighting(RATE), TABLES, strict=True):
        assert np.ravel(ours) == pytest.approx(np.ravel(table), abs=1e-7)


@pytest.mark.parametrize("rate", [48000, 24000, 16000])
def test_the_calibration_tone(rate: int) -> None:
    assert loudness(sine(2, rate=rate), rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(0.1 * sine(2, rate=rate), rate) == pytest.approx(-23.01, abs=0.05)


def test_every_step_of_the_standard() -> None:
    """Loud noise, noise under the relative gate, and near silence under the absolute one."""
    rng = np.random.default_rng(4)
    envelope = np.repeat([0.3, 0.02, 0.2, 1e-6], RATE // 2)
    sound = envelope * rng.standard_normal(len(envelope)) + 0.1  # an offset is not heard
    assert loudness(sound, RATE) == pytest.approx(by_the_standard(sound), abs=1e-3)


def test_another_implementation_hears_the_same() -> None:
    """It takes rounder filter constants: a tenth of a decibel."""
    sound = 0.2 * np.random.default_rng(1).standard_normal(3 * RATE) * np.linspace(0.1, 1, 3 * RATE)
    theirs = torchaudio.functional.loudness(torch.from_numpy(sound)[None], RATE).item()
    assert loudness(sound, RATE) == pytest.approx(theirs, abs=0.2)


def test_silence_and_little_sound() -> None:
    assert loudness(np.zeros(RATE), RATE) == GATE
    assert loudness(1e-5 * sine(1), RATE) == GATE
    assert loudness(sine(0.25), RATE) == pytest.approx(-3.01, abs=0.1)
