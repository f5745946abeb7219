"""The voices of the things: one signal per class, with its own spectrum and its own gesture in time.

A voice gets the phase (cycles) and the loudness (0 to 1) at every sample, the same numbers that move the picture, and
returns samples S at any level. All that tells the classes apart lies below 3.8 kHz, so that 8 kHz audio keeps it.
"""

import numpy as np
from scipy.signal import butter, sosfilt

from avsa.acquire.synth.rhythm import Array


def _tone(frequency: Array | float, rate: int, count: int) -> Array:
    """A sine whose frequency in Hz may change from sample to sample."""
    sine: Array = np.sin(2 * np.pi * np.cumsum(np.broadcast_to(frequency, count)) / rate)
    return sine


def _noise(low: float, high: float, rate: int, count: int, rng: np.random.Generator) -> Array:
    """Noise in a band of Hz; the band ends below half the sample rate."""
    high = min(high, 0.46 * rate)
    band = butter(3, (min(low, 0.6 * high), high), "bandpass", fs=rate, output="sos")
    filtered: Array = sosfilt(band, rng.standard_normal(count))
    return filtered


def drum(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A deep thump whose pitch falls."""
    return _tone(85 + 70 * beat**2, rate, phase.size) * beat


def bell(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """Inharmonic partials that ring on."""
    base = rng.uniform(800, 900)
    partials = ((1.0, 1.0), (1.48, 0.7), (2.03, 0.5), (2.74, 0.4))
    ringing: Array = beat * sum(gain * _tone(base * ratio, rate, phase.size) for ratio, gain in partials)
    return ringing


def siren(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A tone that sweeps up and down as the lamp turns."""
    swept = _tone(650 * 2.0 ** (1.2 * beat), rate, phase.size)
    return (0.25 + 0.75 * beat) * (swept + 0.3 * swept**3)


def fan(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A breath of noise for each blade that passes."""
    return (0.1 + 0.9 * beat) * _noise(350, 750, rate, phase.size, rng)


def bird(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A chirp that falls with every stroke of the wings."""
    return beat * _tone(2100 + 1200 * beat, rate, phase.size)


def frog(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A rattle of pulses through a throat."""
    pulses = np.maximum(_tone(rng.uniform(55, 65), rate, phase.size), 0) ** 8
    croak: Array = beat * pulses * _tone(rng.uniform(950, 1050), rate, phase.size)
    return croak


def metronome(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A dry click at each end of the pointer's way."""
    return beat**2 * _noise(1300, 2600, rate, phase.size, rng)


def beacon(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A buzzing beep: odd harmonics, on and off."""
    base = rng.uniform(400, 460)
    odd = (_tone(base * n, rate, phase.size) / n**0.5 for n in (1, 3, 5, 7) if base * n < 0.46 * rate)
    beeping: Array = beat * sum(odd)
    return beeping


def ball(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A short knock when the ball hits the ground."""
    body = _tone(240 + 60 * beat, rate, phase.size) + 0.5 * _tone(520, rate, phase.size)
    return beat**1.5 * body


def star(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A bright hiss."""
    return beat * _noise(2900, 3700, rate, phase.size, rng)


def gear(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A rasp: all harmonics of a low note, at every tooth."""
    base = rng.uniform(150, 180)
    harmonics = (_tone(base * n, rate, phase.size) / n**0.3 for n in range(1, 17) if base * n < 0.46 * rate)
    rasping: Array = beat * sum(harmonics)
    return rasping


def kettle(phase: Array, beat: Array, rate: int, rng: np.random.Generator) -> Array:
    """A whistle whose pitch shakes with the cone."""
    shaken = 1650 + 130 * np.sin(2 * np.pi * phase)
    return (0.3 + 0.7 * beat) * _tone(shaken, rate, phase.size)
