"""Mix a scene's sound: moving sources, reflections, a diffuse place and a noise floor, in first-order ambisonics.

A diffuse field has, in SN3D, a third of W's power in each of Y, Z and X, and no correlation between channels: that is
what `diffuse` draws. Levels are powers of W over the whole recording.
Sums stay in NumPy: BLAS splits them by the number of threads, and the files have to be the same bytes for any.

Shapes: S samples, C = 4 channels W, Y, Z, X, F frequency bins.
"""

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from avsa import config
from avsa.acquire.synth.places import Place
from avsa.acquire.synth.rhythm import Array
from avsa.acquire.synth.scene import Scene, SceneObject
from avsa.acquire.synth.things import THINGS
from avsa.ambisonics.foa import encode, steering

DIFFUSE_C = np.array([1, 3**-0.5, 3**-0.5, 3**-0.5])  # SN3D amplitudes of a diffuse field
REFLECTIONS = 5  # early echoes of each object: one from the floor, the others from walls around
CEILING = 0.95  # of full scale; a louder mix is turned down


def mix(scene: Scene, place: Place, synth: config.Synth) -> Array:
    """The scene's sound as `foa_4S` (W, Y, Z, X; SN3D), within ±1.

    Silent objects take no part in it, not even in its randomness.
    """
    rate, samples = synth.sample_rate, round(scene.duration_s * synth.sample_rate)
    rng = np.random.default_rng(scene.noise_seed)
    field = np.zeros((4, samples))
    tail = _tail(place, rate, rng)
    padded = next_fast_len(samples + tail.shape[1], real=True)
    wet_CF = np.zeros((4, padded // 2 + 1), complex)
    for item in scene.objects:
        if not item.sounding:
            continue
        signal = voice(item, rate, samples, rng)
        field += _moving(signal, item, rate)
        echoes_CF = rfft(signal, padded) * rfft(_echoes(item, tail, rate, rng), padded)
        level = np.sqrt(np.mean(signal**2) * samples * padded / 2 / np.sum(np.abs(echoes_CF[0]) ** 2))
        wet_CF += 10 ** (synth.reverb_db / 20) * level * echoes_CF
    field += irfft(wet_CF, padded)[:, :samples]
    power = np.mean(field[0] ** 2) or 1.0
    if scene.ambience_db is not None:
        field += np.sqrt(power) * 10 ** (scene.ambience_db / 20) * ambience(place, rate, samples, rng)
    field += np.sqrt(power) * 10 ** (synth.noise_db / 20) * diffuse(np.ones(samples // 2 + 1), samples, rng)
    field *= 10 ** (scene.loudness_db / 20) / np.sqrt(np.mean(field[0] ** 2))
    scaled: Array = field * min(1.0, CEILING / np.abs(field).max())
    return scaled


def voice(item: SceneObject, rate: int, samples: int, rng: np.random.Generator) -> Array:
    """The object's own sound S, of unit power at level 0 dB."""
    thing = THINGS[item.kind]
    phase = item.phases(np.arange(samples) / rate)
    signal = thing.voice(phase, thing.beat(phase), rate, rng)
    scaled: Array = signal * (10 ** (item.level_db / 20) / np.sqrt(np.mean(signal**2)))
    return scaled


def diffuse(amplitude_F: Array, samples: int, rng: np.random.Generator) -> Array:
    """A diffuse field 4×S of that amplitude spectrum whose W has unit power."""
    white_CF = rng.standard_normal((4, 2, samples // 2 + 1))
    field = irfft((white_CF[:, 0] + 1j * white_CF[:, 1]) * amplitude_F, samples)
    field *= DIFFUSE_C[:, None] / np.sqrt(np.mean(field**2, axis=1, keepdims=True))
    shaped: Array = field
    return shaped


def ambience(place: Place, rate: int, samples: int, rng: np.random.Generator) -> Array:
    """The place's own sound 4×S, of unit power: its noise bands, each with the same power."""
    hertz = np.fft.rfftfreq(samples, 1 / rate)
    spectrum = np.zeros(hertz.size)
    for low, high in place.bands_hz:
        middle, width = (low + high) / 2, (high - low) / 2
        spectrum += np.exp(-0.5 * ((hertz - middle) / width) ** 2) / width
    return diffuse(np.sqrt(spectrum), samples, rng)


def _moving(signal: Array, item: SceneObject, rate: int) -> Array:
    """The direct sound, its gains drawn in lines between 100 directions per second."""
    time = np.arange(signal.size) / rate
    knots = np.arange(0, time[-1] + 0.01, 0.01)
    azimuth, elevation = item.direction(knots)
    gains = encode(np.ones(knots.size), azimuth, elevation)
    return np.stack([np.interp(time, knots, gain) for gain in gains]) * signal


def _tail(place: Place, rate: int, rng: np.random.Generator) -> Array:
    """Late reverberation of unit energy: diffuse noise 4×S that decays by 60 dB in the place's reverberation time."""
    count = round(place.decay_s * rate)
    decay = 10 ** (-3 * np.arange(count) / count)
    noise = DIFFUSE_C[:, None] * rng.standard_normal((4, count)) * decay
    scaled: Array = noise / np.sqrt(np.sum(noise[0] ** 2))
    return scaled


def _echoes(item: SceneObject, tail: Array, rate: int, rng: np.random.Generator) -> Array:
    """The response 4×S of the room without the direct sound: sparse early reflections of unit energy and the tail."""
    delay = np.sort(rng.uniform(0.004, 0.04, REFLECTIONS))
    azimuth = rng.uniform(-np.pi, np.pi, REFLECTIONS)
    elevation = rng.uniform(-0.3, 0.6, REFLECTIONS)
    azimuth[0], elevation[0] = item.azimuth, -abs(item.elevation)  # the floor's mirror image
    gain = 1 / (1 + delay / 0.01)
    gain /= np.sqrt(np.sum(gain**2))
    response = tail.copy()
    place = np.round(delay * rate).astype(int)
    np.add.at(response.T, place, steering(azimuth, elevation).numpy() * gain[:, None])
    return response
