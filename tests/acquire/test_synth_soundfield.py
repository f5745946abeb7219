"""The mix: levels, diffuse statistics, directions, silence of the silent."""

from dataclasses import replace

import numpy as np
import pytest

from avsa.acquire.synth.places import Place, build_place
from avsa.acquire.synth.scene import draw_scene
from avsa.acquire.synth.soundfield import ambience, diffuse, mix, voice
from avsa.acquire.synth.things import THINGS
from avsa.config import Synth

RATE = 8000
DRY = Synth(sample_rate=RATE, ambience_share=0.0, noise_db=-80.0, reverb_db=-80.0)


def place(number: int = 0) -> Place:
    return build_place(0, number, 32)


def decibels(power: float) -> float:
    return float(10 * np.log10(power))


def test_ambience_is_a_diffuse_field() -> None:
    # SN3D: W has unit power, Y, Z, X a third of it, and the channels are uncorrelated.
    rng = np.random.default_rng(0)
    field = np.concatenate([ambience(place(n), RATE, 4 * RATE, rng) for n in range(12)], axis=1)
    covariance = field @ field.T / field.shape[1]
    np.testing.assert_allclose(np.diag(covariance), [1, 1 / 3, 1 / 3, 1 / 3], rtol=1e-9)
    scale = np.sqrt(np.diag(covariance))
    assert np.abs(covariance / np.outer(scale, scale) - np.eye(4)).max() < 0.02


def test_diffuse_noise_agrees_with_many_plane_waves() -> None:
    # The same second-order statistics, made the slow way: independent waves from 2,000 directions over the sphere.
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gains_C = np.concatenate((np.ones((1, 2000)), directions.T[[1, 2, 0]])) / 2000**0.5
    waves = gains_C @ rng.standard_normal((2000, 4000))
    ours = diffuse(np.ones(2001), 4000, rng)
    np.testing.assert_allclose(ours @ ours.T / 4000, waves @ waves.T / 4000, atol=0.06)


def test_ambience_stays_in_the_places_bands() -> None:
    spot = place(5)
    field = ambience(spot, RATE, 4 * RATE, np.random.default_rng(2))
    power = np.abs(np.fft.rfft(field[0])) ** 2
    hertz = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    shares = [power[(hertz > 0.8 * low) & (hertz < 1.2 * high)].sum() / power.sum() for low, high in spot.bands_hz]
    assert sum(shares) > 0.95
    assert max(shares) < 0.65


def test_loudness_is_as_drawn() -> None:
    synth = Synth(sample_rate=RATE)
    for index in range(4):
        scene = replace(draw_scene(synth, "train", index), loudness_db=-40.0)
        field = mix(scene, place(scene.place), synth)
        assert decibels(np.mean(field[0] ** 2)) == pytest.approx(-40, abs=1e-6)


def test_ambience_and_reverberation_have_their_levels() -> None:
    # A straight-ahead source leaves Y and Z to the diffuse parts: in each a third of their power.
    scene = draw_scene(DRY, "train", 0)
    item = replace(scene.objects[0], azimuth=0.0, azimuth_speed=0.0, elevation=0.0, elevation_swing=0.0, sounding=True)
    scene = replace(scene, objects=(item,))
    loud = mix(replace(scene, ambience_db=-6.0), place(), DRY)
    assert decibels(3 * np.mean(loud[1] ** 2) / np.mean(loud[3] ** 2)) == pytest.approx(-6 - 0.35, abs=0.4)
    ratio = [mix(scene, place(n), DRY.model_copy(update={"reverb_db": -10.0})) for n in range(12)]
    wet = np.mean([np.mean(field[1] ** 2 + field[2] ** 2) / np.mean(field[3] ** 2) for field in ratio])
    assert decibels(1.5 * float(wet)) == pytest.approx(-10, abs=2.0)


def test_silent_objects_carry_no_energy() -> None:
    synth = Synth(sample_rate=RATE, distractors=(2, 2))
    scene = draw_scene(synth, "train", 3)
    without = replace(scene, objects=tuple(item for item in scene.objects if item.sounding))
    assert len(without.objects) < len(scene.objects)
    np.testing.assert_array_equal(mix(scene, place(), synth), mix(without, place(), synth))


def test_every_place_and_recording_stays_below_full_scale() -> None:
    synth = Synth(sample_rate=RATE)
    for index in range(12):
        scene = replace(draw_scene(synth, "train", index), loudness_db=-3.0)
        assert np.abs(mix(scene, place(scene.place), synth)).max() <= 0.95 + 1e-9


def test_voices_differ_by_spectrum() -> None:
    # Mean log spectra in 32 bands, half a second each: the nearest class mean is always the right one.
    base = draw_scene(DRY, "train", 0).objects[0]
    rng = np.random.default_rng(0)
    spectra = np.empty((len(THINGS), 12, 32))
    for kind, thing in enumerate(THINGS):
        for n in range(12):
            item = replace(base, kind=kind, beat_hz=rng.uniform(*thing.rate_hz), phase=rng.random())
            heard = voice(item, RATE, RATE // 2, rng) + 0.03 * rng.standard_normal(RATE // 2)
            power = np.abs(np.fft.rfft(heard * np.hanning(heard.size))[1:1985]) ** 2
            spectra[kind, n] = np.log(power.reshape(32, -1).mean(1))
    means = spectra[:, ::2].mean(1)
    distance = ((spectra[:, 1::2, None] - means) ** 2).sum(-1)
    right = distance.argmin(-1) == np.arange(len(THINGS))[:, None]
    assert right.mean() > 0.97
