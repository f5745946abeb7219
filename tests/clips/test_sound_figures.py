"""What sounds are measured for: the figures from their formulas, and on which side of the thresholds sounds lie."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from clips_media import RATE, Array, field, noise, plane_wave

from avsa.ambisonics.foa import to_acn_sn3d
from avsa.clips.checks import check_sound
from avsa.clips.ledger import RefusedError
from avsa.clips.probe import open_stream
from avsa.clips.sound import decode_sound
from avsa.clips.sound_figures import sound_figures
from avsa.config import Checks

REAL = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data")) / "real"
needs_recordings = pytest.mark.skipif(not REAL.is_dir(), reason=f"no recordings in {REAL}")
NAMES = ["sitar360.webm", "foa_recording_1.ogg", "foa_recording_2.ogg", "foa_recording_3.ogg", "foa_room_response.wav"]


def verdict(foa_CS: Array) -> str:
    """The check that refuses the sound, or nothing."""
    try:
        check_sound(sound_figures(foa_CS.astype(np.float32), RATE), Checks())
    except RefusedError as refused:
        return refused.check
    return ""


def real(name: str) -> list[Array]:
    """A real recording as ACN/SN3D, in pieces of 3 s."""
    media = open_stream(REAL / name, "audio")
    sound_CS, _ = decode_sound(media, RATE)
    media.close()
    foa_CS = sound_CS if "sitar" in name else np.asarray(to_acn_sn3d(sound_CS, "fuma"), np.float32)
    return [foa_CS[:, at : at + 3 * RATE] for at in range(0, max(1, foa_CS.shape[1] - 3 * RATE), 3 * RATE)]


def with_voice(foa_CS: Array, db: float) -> Array:
    """Somebody who speaks now and then, in W alone, so much louder than the scene."""
    syllables = np.abs(np.sin(2 * np.pi * 2 * np.arange(foa_CS.shape[1]) / RATE)) ** 2
    tone = np.cumsum(noise(foa_CS.shape[1] / RATE + 1, seed=9)[: foa_CS.shape[1]])  # reddish, as speech is
    voice = syllables * (tone - np.convolve(tone, np.ones(200) / 200, "same"))
    gain = np.sqrt(np.mean(foa_CS[0] ** 2) / np.mean(voice**2)) * 10 ** (db / 20)
    return np.concatenate([foa_CS[:1] + gain * voice, foa_CS[1:]])


def damaged(foa_CS: Array) -> dict[str, Array]:
    """What is no sound field, by the check that must notice it."""
    left, right, none = foa_CS[0] + foa_CS[1], foa_CS[0] - foa_CS[1], np.zeros_like(foa_CS[0])
    return {
        "silent": 1e-4 * foa_CS,
        "spatial": np.stack([foa_CS[0], 1e-4 * foa_CS[1], none, none]),
        "mono": np.repeat(foa_CS[:1], 4, axis=0),
        "stereo": np.stack([left, right, none, none]),
        "voice-over": with_voice(foa_CS, 12),
    }


def test_figures_from_their_formulas() -> None:
    """Two sources of known gains: every mean product is known."""
    foa_CS = field(4)
    figures = sound_figures(foa_CS, RATE)
    w, y, z, x = np.mean(foa_CS.astype(float) ** 2, axis=1)
    assert figures["rms_db"] == pytest.approx(10 * np.log10(w))
    assert figures["spatial_db"] == pytest.approx(10 * np.log10((x + y + z) / w))
    assert figures["vertical_db"] == pytest.approx(10 * np.log10(z / min(x, y)))
    intensity = np.linalg.norm(np.mean(foa_CS[0] * foa_CS[1:].astype(float), axis=1))
    assert figures["mono_gain"] == pytest.approx(intensity / w)
    assert figures["diffuseness"] == pytest.approx(1 - 2 * intensity / (w + x + y + z))
    assert figures["third_signal"] == pytest.approx(0, abs=1e-6)
    assert figures["directional"] == 3


def test_share_without_direction() -> None:
    """W holds a wave of power 1 and, in the second half of the time, one of power 20 that is nowhere else."""
    foa_CS, voice = plane_wave(noise(8), 30, 10), np.sqrt(20) * noise(8, seed=5)
    voice[: 4 * RATE] = 0
    foa_CS[0] += voice
    share = sound_figures(foa_CS, RATE)["directionless"]
    assert share == pytest.approx(21 / 22, abs=0.03)
    assert sound_figures(plane_wave(noise(8), 30, 10), RATE)["directionless"] == 0


def test_sound_fields_pass() -> None:
    assert verdict(field(3)) == ""
    assert verdict(plane_wave(noise(3), 30, 40)) == ""
    waves = [plane_wave(noise(3, seed=n), 137.5 * n, np.degrees(np.arcsin(-0.95 + n / 10))) for n in range(20)]
    assert verdict(0.2 * np.sum(waves, axis=0)) == ""  # diffuse


@pytest.mark.parametrize("check", damaged(field(1)))
def test_what_is_no_sound_field_is_refused(check: str) -> None:
    assert verdict(damaged(field(3))[check]) == check


def test_stereo_in_pairs_is_refused() -> None:
    left, right = noise(3), noise(3, seed=1) + 0.5 * noise(3)
    assert verdict(np.stack([left, right, left, right])) == "stereo"
    assert verdict(np.stack([left + right, left - right, 0 * left, 0 * left])) == "stereo"


@needs_recordings
@pytest.mark.parametrize("name", NAMES)
def test_real_recordings_pass(name: str) -> None:
    """Among them one without Z, and whole seconds of near silence."""
    assert [verdict(piece) for piece in real(name)] == [""] * len(real(name))


@needs_recordings
@pytest.mark.parametrize("name", NAMES)
def test_real_recordings_that_are_damaged_are_refused(name: str) -> None:
    for piece in real(name):
        for check, sound in damaged(piece).items():
            assert verdict(sound) == check, check


@needs_recordings
def test_margins_on_real_recordings() -> None:
    """Figures of the good lie well on their side of the thresholds of ``docs/checks.md``."""
    figures = [sound_figures(piece, RATE) for name in NAMES for piece in real(name)]
    assert max(one["directionless"] for one in figures) < 0.1
    assert max(one["mono_correlation"] for one in figures) < 0.5
    assert min(one["third_signal"] for one in figures) > 0.15
    assert min(one["loudness"] for one in figures) > -50
    assert min(one["spatial_db"] for one in figures) > -8
