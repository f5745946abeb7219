"""The channel order of a source, heard from its recordings."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from clips_media import Array, Writer, noise, plane_wave

from avsa.ambisonics.foa import from_acn_sn3d, to_acn_sn3d
from avsa.clips.order import check_order, order_verdicts
from avsa.clips.probe import open_stream
from avsa.clips.recordings import Recording, find_recordings
from avsa.clips.sound import decode_sound
from avsa.errors import UserError

REAL = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data")) / "real"
needs_recordings = pytest.mark.skipif(not REAL.is_dir(), reason=f"no recordings in {REAL}")
B_FORMAT = ["foa_recording_1.ogg", "foa_recording_2.ogg", "foa_recording_3.ogg"]
RATE = 24000


def scene(seed: int) -> Array:
    """Nine sources near the horizon."""
    rng = np.random.default_rng(seed)
    waves = [plane_wave(noise(4, seed=10 * seed + n), rng.uniform(-180, 180), rng.uniform(-15, 15)) for n in range(9)]
    return np.asarray(0.5 * np.sum(waves, axis=0), np.float32)


def write(path: Path, sound_CS: Array) -> None:
    """Sound alone: its codec is the suffix's."""
    codec = {".flac": "flac", ".m4a": "aac"}[path.suffix]
    layout = {("flac", 4): "quad", ("aac", 4): "4.0"}.get((codec, len(sound_CS)), "5.1")
    Writer(path).add(sound_CS=np.ascontiguousarray(sound_CS), audio=codec, layout=layout)


def real(name: str) -> list[Array]:
    """A real recording as ACN/SN3D, in pieces of 5 s."""
    media = open_stream(REAL / name, "audio")
    sound_CS, _ = decode_sound(media, RATE)
    media.close()
    foa_CS = sound_CS if "sitar" in name else np.asarray(to_acn_sn3d(sound_CS, "fuma"), np.float32)
    return [foa_CS[:, at : at + 5 * RATE] for at in range(0, foa_CS.shape[1] - 5 * RATE + 1, 5 * RATE)]


@pytest.mark.parametrize(
    ("order", "suffix"),
    [("acn-sn3d", "flac"), ("acn-sn3d", "m4a"), ("fuma", "flac"), ("acn-n3d", "flac"), ("youtube-aac4", "m4a")],
)
def test_orders_of_a_source(tmp_path: Path, order: str, suffix: str) -> None:
    for seed in range(5):
        write(tmp_path / f"{seed}.{suffix}", from_acn_sn3d(scene(seed), order))
    (verdict,) = order_verdicts(find_recordings(tmp_path), RATE)
    assert (verdict.best, verdict.heard) == (order, 5)
    assert verdict.against == (order != "acn-sn3d")


def test_six_channels(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / f"{seed}.flac", from_acn_sn3d(scene(seed), "youtube-aac6"))
    with pytest.raises(UserError, match=r"looks like youtube-aac6, .* set clips.channel_order to youtube-aac6"):
        check_order(find_recordings(tmp_path), RATE)


def test_surround_sound_is_not_taken_for_ambisonics(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for seed in range(4):
        levels = 10 ** (rng.uniform(-30, 0, size=(6, 1)) / 20)
        write(tmp_path / f"{seed}.flac", levels * np.stack([noise(4, seed=6 * seed + n) for n in range(6)]))
    (verdict,) = order_verdicts(find_recordings(tmp_path), RATE)
    assert not verdict.against


def test_each_folder_is_a_source_of_its_own(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for seed in range(3):
            write(tmp_path / split / f"new/{seed}.flac", scene(seed))
            write(tmp_path / split / f"old/{seed}.flac", from_acn_sn3d(scene(seed), "fuma"))
    verdicts = {
        one.source: (one.best, one.heard, one.against) for one in order_verdicts(find_recordings(tmp_path), RATE)
    }
    assert verdicts == {"new": ("acn-sn3d", 6, False), "old": ("fuma", 6, True)}
    with pytest.raises(UserError, match=r"in old looks like fuma, .* ingesting folders of other orders apart"):
        check_order(find_recordings(tmp_path), RATE)


def test_one_recording_is_no_proof(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", from_acn_sn3d(scene(0), "fuma"))
    order, probability, heard = check_order(find_recordings(tmp_path), RATE)
    assert (order, heard) == ("fuma", 1)
    assert probability < 0.999


def test_nothing_to_hear(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", np.zeros((4, RATE), np.float32))
    assert check_order(find_recordings(tmp_path), RATE)[2] == 0


def test_what_is_no_sound_field_says_nothing_of_the_order(tmp_path: Path) -> None:
    """Mono or stereo in four channels, in AAC too, and a field without W: the checks' business, whatever they sound
    like; a folder of them stops nothing, and does not outvote the others."""
    for seed in range(4):
        left, right, nothing = noise(4, seed=seed), noise(4, seed=seed + 50), np.zeros(4 * RATE, np.float32)
        for name, channels in (
            ("mono", [left] * 4),
            ("stereo", [left, right, left, right]),
            ("padded", [left, right, nothing, nothing]),
            ("no-w", [nothing, *scene(seed)[1:]]),
        ):
            write(tmp_path / f"{name}{seed}.flac", np.stack(channels))
        write(tmp_path / f"aac{seed}.m4a", np.stack([left] * 4))
    assert check_order(find_recordings(tmp_path), RATE)[2] == 0
    for seed in range(3):
        write(tmp_path / f"good{seed}.flac", scene(seed))
    order, _, heard = check_order(find_recordings(tmp_path), RATE)
    assert (order, heard) == ("acn-sn3d", 3)


def test_a_source_that_declares_its_order_is_heard_apart(tmp_path: Path) -> None:
    """Six channels that are what they are said to be stop nothing, beside others with four; a wrong word does."""
    for seed in range(3):
        write(tmp_path / f"four{seed}.flac", scene(seed))
        write(tmp_path / f"six{seed}.flac", from_acn_sn3d(scene(seed), "youtube-aac6"))

    def said(order: str) -> list[Recording]:
        return [replace(one, channel_order=order * ("six" in one.name)) for one in find_recordings(tmp_path)]

    verdicts = {one.expected: (one.best, one.heard, one.against) for one in order_verdicts(said("youtube-aac6"), RATE)}
    assert verdicts == {"acn-sn3d": ("acn-sn3d", 3, False), "youtube-aac6": ("youtube-aac6", 3, False)}
    with pytest.raises(UserError, match=r"looks like youtube-aac6, not acn-sn3d .*, or to acn-sn3d if you know"):
        check_order(said(""), RATE)


@dataclass(frozen=True)
class Deadly:
    """A recording that ends the process that listens to it."""

    source: str = "deadly.mp4"
    split: str = "train"
    audio: None = None
    channel_order: str = ""

    @property
    def video(self) -> Path:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_what_ends_its_process_is_not_listened_to(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path / f"{seed}.flac", scene(seed))
    recordings = [*find_recordings(tmp_path), Deadly()]
    order, _, heard = check_order(recordings, RATE, jobs=2)  # type: ignore[arg-type]
    assert (order, heard) == ("acn-sn3d", 3)


@needs_recordings
@pytest.mark.parametrize("order", ["acn-sn3d", "fuma", "acn-n3d"])
def test_real_recordings_in_any_order(tmp_path: Path, order: str) -> None:
    """Recordings of two kinds of microphones, as one source in each order."""
    pieces = [piece for name in [*B_FORMAT, "sitar360.webm"] for piece in real(name)]
    for number, piece in enumerate(pieces):
        write(tmp_path / f"{number}.flac", from_acn_sn3d(piece, order))
    (verdict,) = order_verdicts(find_recordings(tmp_path), RATE)
    assert verdict.against == (order != "acn-sn3d")
    assert verdict.best == order


@needs_recordings
@pytest.mark.parametrize(("order", "suffix"), [("youtube-aac4", "m4a"), ("youtube-aac6", "flac")])
def test_real_recordings_in_youtubes_orders(tmp_path: Path, order: str, suffix: str) -> None:
    pieces = [piece for name in [*B_FORMAT, "sitar360.webm"] for piece in real(name)]
    for number, piece in enumerate(pieces):
        write(tmp_path / f"{number}.{suffix}", from_acn_sn3d(piece, order))
    (verdict,) = order_verdicts(find_recordings(tmp_path), RATE)
    assert verdict.against
    assert verdict.best == order
