"""Verification finds every flipped bit, whatever it belongs to, and nothing in a store that is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips_media import write_recording

from avsa.cli import verify as verb
from avsa.clips.ingest import ingest
from avsa.clips.store import MANIFEST, ClipStore
from avsa.clips.verify import verify
from avsa.config import Clips
from avsa.errors import UserError

CONFIG = Clips(clip_s=1.0, height=64, channel_order="acn-sn3d", shard_mb=0.6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    for number in range(2):
        write_recording(folder / "raw", f"r{number}", 3.0)
    ingest(folder / "raw", folder / "store", CONFIG, jobs=1)
    return folder / "store"


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    root = tmp_path / "store"
    root.mkdir()
    for path in whole.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    return root


def flip(file: Path, at: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1 << bit
    file.write_bytes(content)


def finding(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        verify(root, jobs=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_store(whole: Path) -> None:
    verified = verify(whole, jobs=2)
    shards = sorted(whole.glob("shard-*.tar"))
    assert len(shards) > 1
    assert (verified.clips, verified.shards, verified.unsigned) == (6, len(shards), 0)
    assert verified.size == sum(path.stat().st_size for path in shards)


def test_every_flipped_bit_is_found(store: Path) -> None:
    shard = store / "shard-00001.tar"
    content = shard.read_bytes()
    random = np.random.default_rng(0)
    clips = [clip for clip in ClipStore(store) if clip.shard == shard.name]
    payload, length = clips[0].members["flac"]
    places = [0, payload - 500, payload, payload + length - 1, payload + length, len(content) - 1]
    for at in [*places, *random.integers(0, len(content), 30)]:
        flip(shard, int(at), int(random.integers(8)))
        assert f"{store} is damaged, " in finding(store)
        shard.write_bytes(content)
    assert verify(store, jobs=1).clips == 6


def test_what_is_damaged_is_named(store: Path) -> None:
    clip = ClipStore(store)[1]
    flip(store / clip.shard, clip.members["mp4"][0] + 100)
    assert f"{clip.shard}: clip {clip.id}: the bytes differ from the checksum" in finding(store)


@pytest.mark.parametrize("missing", [1, 512, 1024, 5000])
def test_a_shard_cut_short(store: Path, missing: int) -> None:
    shard = store / "shard-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-missing])
    assert "shard-00001.tar: " in finding(store)


def test_shards_missing_strange_and_longer(store: Path) -> None:
    (store / "shard-00000.tar").rename(store / "shard-00077.tar")
    assert finding(store).count("shard-00077.tar is not in the manifest") == 1
    (store / "shard-00077.tar").unlink()
    assert "shard-00000.tar: No such file or directory" in finding(store)


def test_more_behind_the_end(store: Path) -> None:
    with (store / "shard-00000.tar").open("ab") as file:
        file.write(b"\0")
    assert "the archive does not end where its last clip does" in finding(store)


def test_a_clip_twice_or_not_at_all(store: Path) -> None:
    manifest = store / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines, lines[-1]]))
    assert f"clip {json.loads(lines[-1])['id']} is listed 2 times" in finding(store)
    manifest.write_text("".join([lines[0], *lines[2:]]))
    assert "mp4 does not follow what is before it" in finding(store)


def test_a_manifest_without_checksums(store: Path) -> None:
    manifest = store / MANIFEST
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**line, "sha256": None}) + "\n" for line in lines))
    verified = verify(store, jobs=1)
    assert verified.unsigned == 6
    assert "6 clips have no checksum" in str(verified)


def test_the_verb(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb(store, jobs=1)
    assert capsys.readouterr().out.startswith("6 clips in 2 shards, ")
    flip(store / "shard-00000.tar", 0)
    with pytest.raises(UserError, match=r"shard-00000.tar: clip r0-0000: mp4 has a damaged header"):
        verb(store, jobs=1)
    assert "mp4 has a damaged header" in capsys.readouterr().err
