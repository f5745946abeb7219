"""What files hold to be checked by: sums of FLAC's frames and of Matroska's parts, the length of WAV's data."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from clips_media import RATE, Writer, field, panorama

from avsa.clips.ingest import ingest
from avsa.clips.ledger import RefusedError
from avsa.clips.matroska import damaged_clusters
from avsa.clips.probe import open_stream
from avsa.clips.riff import check_wav
from avsa.clips.sound import decode_sound
from avsa.clips.store import ClipStore
from avsa.config import Clips

CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_flac_is_noticed(tmp_path: Path, seed: int) -> None:
    """Also in the first frames, of which the parser makes one with a wrong time."""
    Writer(tmp_path / "a.flac").add(sound_CS=field(1), audio="flac", layout="quad")
    whole_CS, damaged = decode_sound(open_stream(tmp_path / "a.flac", "audio"), RATE)
    assert damaged == []
    data = bytearray((tmp_path / "a.flac").read_bytes())
    frames, rng = data.index(b"\xff\xf8"), random.Random(seed)
    data[rng.randrange(frames, len(data))] ^= 1 << rng.randrange(8)
    (tmp_path / "a.flac").write_bytes(data)
    sound_CS, damaged = decode_sound(open_stream(tmp_path / "a.flac", "audio"), RATE)
    assert damaged or np.array_equal(sound_CS, whole_CS)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s with a cluster per second."""
    path = tmp_path_factory.mktemp("film") / "a.mkv"
    writer = Writer(path)
    writer.container = av.open(str(path), "w", options={"cluster_time_limit": "1000"})
    writer.add(panorama(128), field(8), audio="flac", layout="quad", options={"g": "16"})
    return path


def clusters(data: bytes) -> list[int]:
    """Where they begin, each with a CRC-32 as its first child."""
    at, found = data.find(b"\x1f\x43\xb6\x75"), []
    while at >= 0:
        found.append(at)
        at = data.find(b"\x1f\x43\xb6\x75", at + 4)
    assert all(b"\xbf\x84" in data[begin : begin + 14] for begin in found)
    return found


def test_an_undamaged_film(film: Path) -> None:
    assert damaged_clusters(film) == ()
    assert len(clusters(film.read_bytes())) >= 4


def test_a_flipped_bit_costs_the_clip_of_its_cluster(film: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    data = bytearray(film.read_bytes())
    begins = clusters(bytes(data))
    (at,) = [begins[i] + 3000 for i in range(len(begins)) if i == len(begins) // 2]
    data[at] ^= 16
    (raw / "a.mkv").write_bytes(data)
    (part,) = damaged_clusters(raw / "a.mkv")
    assert part[0] < at < part[1]
    ingest(raw, tmp_path / "out", CONFIG, jobs=1)
    refused = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert {entry["check"] for entry in refused} == {"decode"}
    kept = {clip.start_s for clip in ClipStore(tmp_path / "out")}
    assert kept | {entry["start_s"] for entry in refused} == {0.0, 2.0, 4.0, 6.0}
    assert 0.0 in kept
    assert 1 <= len(refused) <= 2  # a cluster may lie across two clips


def test_a_flipped_bit_in_the_header_costs_the_recording(film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    data[data.index(b"A_FLAC")] ^= 1  # in Tracks
    (tmp_path / "a.mkv").write_bytes(data)
    with pytest.raises(RefusedError, match="the CRC-32 of its header at byte") as caught:
        damaged_clusters(tmp_path / "a.mkv")
    assert caught.value.check == "checksum"


def test_what_has_no_checksums_is_not_judged(film: Path, tmp_path: Path) -> None:
    """Another kind of file, none at all, WebM, and Matroska of unknown length, cut off, or of nonsense."""
    whole = film.read_bytes()
    for content in (b"", b"RIFF", whole[:3], whole[: len(whole) // 2], whole[:40] + bytes(500), b"\x1a\x45\xdf\xa3"):
        (tmp_path / "a.mkv").write_bytes(content)
        assert damaged_clusters(tmp_path / "a.mkv") == ()
    Writer(tmp_path / "b.webm").add(panorama(16), video="libvpx-vp9")
    assert damaged_clusters(tmp_path / "b.webm") == ()
    shutil.copy(film, tmp_path / "c.mkv")
    assert damaged_clusters(tmp_path / "c.mkv") == ()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Half a second of 16 bit, after a chunk of odd length that is no sound."""
    Writer(tmp_path / "a.wav").add(sound_CS=field(0.5), audio="pcm_s16le", layout="quad")
    data = (tmp_path / "a.wav").read_bytes()
    at = data.index(b"data")
    (tmp_path / "a.wav").write_bytes(data[:at] + b"note\x05\0\0\0fine.\0" + data[at:])
    check_wav(tmp_path / "a.wav")
    return tmp_path / "a.wav"


@pytest.mark.parametrize("lost", [65, 4096, 90000])
def test_wav_that_lost_a_part(wav: Path, lost: int) -> None:
    data = wav.read_bytes()
    wav.write_bytes(data[:3000] + data[3000 + lost :])
    with pytest.raises(RefusedError, match=rf"{lost} of 96000 bytes of sound are missing in a.wav") as caught:
        open_stream(wav, "audio", verified=True)
    assert caught.value.check == "truncated"


def test_wav_of_unknown_or_large_length(wav: Path) -> None:
    """A recorder that lost its power leaves 0, a pipe 2³² − 1; beyond 4 GB the length stands elsewhere."""
    data = wav.read_bytes()
    at = data.index(b"data") + 4
    for unknown in (bytes(4), b"\xff" * 4):
        wav.write_bytes(data[:at] + unknown + data[at + 4 : -5000])
        check_wav(wav)
    for size, fits in ((96000, True), (96100, False)):
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, size, 0, 0)
        wav.write_bytes(b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + data[12:at] + b"\xff" * 4 + data[at + 4 :])
        if fits:
            check_wav(wav)
        else:
            with pytest.raises(RefusedError, match="100 of 96100 bytes"):
                check_wav(wav)


def test_what_is_no_wav(wav: Path, film: Path) -> None:
    data = wav.read_bytes()
    check_wav(film)
    for content in (b"", data[:10], data[:14], data[:40], b"RIFF\0\0\0\0AVI " + data[12:]):
        wav.write_bytes(content)
        check_wav(wav)
