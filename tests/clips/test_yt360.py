"""YT-360 as published: ids, splits, times and label maps, from folders and from archives."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips_media import Array, decode_flac, decode_mp4, direction, store_bytes
from layouts import CONFIG, IDS, MAP_HEIGHT, merged, panoptic_pictures, write_maps, write_pair, write_yt360

from avsa.clips.ingest import IngestSummary, ingest
from avsa.clips.label_maps import count_maps, read_map
from avsa.clips.recordings import list_recordings
from avsa.clips.sources.panoptic import PanopticMaps, find_maps
from avsa.clips.sources.yt360 import read_classes
from avsa.clips.store import ClipStore
from avsa.data.labels import read_classes as read_told_apart
from avsa.errors import UserError

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
LISTS = SHARED / "yt360"


def run(raw: Path, out: Path) -> IngestSummary:
    return ingest(raw, out, CONFIG, jobs=1, lists=raw / "no lists")


def ledger(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "refused.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Array]]]:
    raw = tmp_path_factory.mktemp("yt360")
    return raw, write_yt360(raw)


@pytest.fixture(scope="module")
def store(published: tuple[Path, dict[str, dict[str, Array]]], tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    out = tmp_path_factory.mktemp("stores") / "out"
    assert run(published[0], out).splits == {"train": 2, "test": 1}
    return ClipStore(out)


def test_ids_splits_and_times(store: ClipStore) -> None:
    found = {clip.id: (clip.split, clip.origin, clip.source, clip.start_s) for clip in store}
    assert found == {
        f"{IDS[0]}-54-0000": ("train", IDS[0], f"video/{IDS[0]}-54.mp4", 0),
        f"{IDS[0]}-68-0000": ("train", IDS[0], f"video/{IDS[0]}-68.mp4", 0),
        f"{IDS[1]}-7-0000": ("test", IDS[1], f"video/{IDS[1]}-7.mp4", 0),
    }
    for clip, at_s in zip(sorted(store, key=lambda clip: clip.id), (1.5, 0.5, 1.0), strict=True):
        foa_CS = decode_flac(store.read(clip, "flac"))
        assert decode_mp4(store.read(clip, "mp4")).mean(axis=(1, 2)).argmax() == round(16 * at_s)
        assert np.abs(foa_CS[0]).argmax() / 24000 == pytest.approx(at_s, abs=0.002)
        assert direction(foa_CS) == pytest.approx((50, 20), abs=1)
        assert store.truth(clip)["origin"] == clip.origin


def test_clips_of_one_film_are_one_recording_to_the_loaders(store: ClipStore) -> None:
    source = {clip.id: int(store.columns["source"][index]) for index, clip in enumerate(store)}
    assert source[f"{IDS[0]}-54-0000"] == source[f"{IDS[0]}-68-0000"] != source[f"{IDS[1]}-7-0000"]


def test_label_maps(published: tuple[Path, dict[str, dict[str, Array]]], store: ClipStore) -> None:
    for clip in store:
        png, pictures = store.read(clip, "segm.png"), published[1][clip.id[:-5]]
        assert (count_maps(png), clip.label_fps) == (8, 4.0)
        for index in range(8):
            found_HW = read_map(png, index)
            things, stuff = (pictures[f"{kind}-{index:04d}.png"] for kind in ("things", "stuff"))
            for v in range(MAP_HEIGHT):
                for u in range(2 * MAP_HEIGHT):
                    assert found_HW[v, u] == merged(int(things[v, u]), int(stuff[v, u]))
    named = json.loads(store.beside("classes.json") or b"")
    assert [*named["things"], *named["stuff"]] == [f"name {number}" for number in range(134)]
    assert len(named["things"]) == 80


@pytest.mark.parametrize("archive", ["zip", "tar", "stored", "per clip", "inside"])
def test_archives_are_read_as_folders_are(
    published: tuple[Path, dict[str, dict[str, Array]]], store: ClipStore, tmp_path: Path, archive: str
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in published[0].iterdir():
        if path.name != "segmentation":
            (raw / path.name).symlink_to(path)
    files = sorted((published[0] / "segmentation").rglob("*.png"))
    if archive == "tar":
        with tarfile.open(raw / "segmentation.tar", "w") as tar:
            tar.add(published[0] / "segmentation", "segmentation")
    elif archive == "per clip":
        (raw / "segmentation").mkdir()
        for path in files:
            with zipfile.ZipFile(raw / f"segmentation/{path.parent.name}.zip", "a", zipfile.ZIP_DEFLATED) as pack:
                pack.write(path, path.name)
    else:
        (raw / "segmentation").mkdir()
        place = raw / ("segmentation/part1.zip" if archive == "inside" else "segmentation.zip")
        method = zipfile.ZIP_STORED if archive == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(place, "w", method) as pack:
            for path in files:
                pack.write(path, f"{path.parent.name}/{path.name}")
    run(raw, tmp_path / "out")
    assert isinstance(store.root, Path)
    assert store_bytes(tmp_path / "out") == store_bytes(store.root)


def one_clip(raw: Path, maps: int = 8) -> Path:
    """The smallest data set; returns the folder of its label maps."""
    write_pair(raw / f"video/{IDS[0]}-54.mp4", raw / f"audio/{IDS[0]}-54.m4a", 2.0, [0.5])
    (raw / "train.txt").write_text(f"{IDS[0]}\n")
    (raw / "test.txt").write_text(f"{IDS[1]}\n")
    folder = raw / f"segmentation/{IDS[0]}-54"
    write_maps(folder, panoptic_pictures(maps))
    return folder


def test_one_map_more_or_less_is_rounding(tmp_path: Path) -> None:
    folder = one_clip(tmp_path / "raw", 9)
    pictures = panoptic_pictures(9)
    for missing in ("", "0008", "0007", "0000"):
        for path in folder.glob(f"*-{missing}.png" if missing else "none"):
            path.unlink()
        run(tmp_path / "raw", tmp_path / "out")
        store = ClipStore(tmp_path / "out")
        png = store.read(store[0], "segm.png")
        assert count_maps(png) == (7 if missing in ("0007", "0000") else 8)
        first = int(missing == "0000")  # the next one stands in for it
        expected = np.vectorize(merged)(pictures[f"things-{first:04d}.png"], pictures[f"stuff-{first:04d}.png"])
        np.testing.assert_array_equal(read_map(png, 0), expected)
        np.testing.assert_array_equal(
            read_map(png, 3)[0, 0], merged(*(int(pictures[f"{kind}-0003.png"][0, 0]) for kind in ("things", "stuff")))
        )


def unlink(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def grey(value: int, *names: str, height: int = MAP_HEIGHT) -> Any:
    """Puts pictures of one value into a folder."""
    return lambda folder: write_maps(folder, {name: np.full((height, 2 * height), value, np.uint8) for name in names})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: write_maps(d, panoptic_pictures(12)), "12 label maps .* do not belong to a video of 2.00 s, .* 8"),
        (lambda d: unlink(d, *(f"{kind}-000{i}.png" for kind in ("things", "stuff") for i in (6, 7))), "6 label maps"),
        (lambda d: unlink(d, "things-0003.png", "stuff-0003.png"), "label map 3 is missing"),
        (lambda d: unlink(d, "stuff-0003.png"), "things-0003.png without stuff"),
        (lambda d: (d / "things-0002.png").write_bytes(b"none"), "cannot be read"),
        (grey(81, "things-0002.png"), "class 81 in things-0002.png: 80"),
        (grey(55, "stuff-0002.png"), "class 55 in stuff-0002.png: 54"),
        (grey(1, "things-0002.png", height=8), "map 2 have different sizes"),
        (grey(1, "things-0002.png", "stuff-0002.png", height=8), "label maps of different sizes"),
        (lambda d: unlink(d, *(path.name for path in d.iterdir())), "holds no label maps"),
    ],
)
def test_label_maps_that_do_not_fit_are_left_out(tmp_path: Path, damage: Any, reason: str) -> None:
    damage(one_clip(tmp_path / "raw"))
    summary = run(tmp_path / "raw", tmp_path / "out")
    assert (summary.clips, summary.refused) == (1, {"labels": 1})
    (entry,) = ledger(tmp_path / "out")
    assert (entry["source"], entry["check"]) == (f"video/{IDS[0]}-54.mp4", "labels")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(entry["reason"])
    (clip,) = ClipStore(tmp_path / "out")
    assert "segm.png" not in clip.members
    assert clip.label_fps is None


def _tar(path: Path, name: str, mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"png"))


def _zip(path: Path, name: str, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as pack:
        pack.writestr(name, b"png")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("segmentation.zip", lambda p: _zip(p, "../../x/things-0000.png"), "leads out of the archive"),
        ("segmentation.tar", lambda p: _tar(p, "/etc/things-0000.png"), "leads out of the archive"),
        ("segmentation.tar.gz", lambda p: _tar(p, "a/things-0000.png", "w:gz"), "cannot be read: .*plain .tar"),
        ("segmentation.zip", lambda p: _zip(p, "a/things-0000.png", zipfile.ZIP_LZMA), "unusual compression"),
        ("segmentation.zip", lambda p: p.write_bytes(b"PK\x03\x04nothing"), "cannot be read: "),
        ("segmentation.tar", lambda p: p.write_bytes(b"nothing" * 100), "cannot be read: "),
    ],
)
def test_archives_that_are_not_read(tmp_path: Path, name: str, make: Any, message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        find_maps(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_and_other_members_of_archives_are_nothing(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "segmentation.tar", "w") as tar:
        link = tarfile.TarInfo("clip/things-0000.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    _zip(tmp_path / "segmentation.zip", "clip/readme.txt")
    assert find_maps(tmp_path) == {}


def test_a_damaged_member_is_left_out_with_its_reason(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", panoptic_pictures(1))
    with zipfile.ZipFile(tmp_path / "segmentation.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        for path in sorted((tmp_path / "maps").iterdir()):
            pack.write(path, f"clip/{path.name}")
        offset = pack.infolist()[0].header_offset
    with (tmp_path / "segmentation.zip").open("r+b") as file:
        file.seek(offset + 30 + len("clip/stuff-0000.png"))
        file.write(bytes([255] * 60))
    maps = find_maps(tmp_path)["clip"]
    assert isinstance(maps, PanopticMaps)
    with pytest.raises(ValueError, match=r"segmentation.zip is damaged|cannot be read"):
        maps.read(0)


# What concerns the whole data set


def test_files_without_a_split_are_in_the_ledger(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    one_clip(raw)
    write_pair(raw / f"video/{IDS[2]}-3.mp4", raw / f"audio/{IDS[2]}-3.m4a", 2.0, [0.5])
    (raw / "video/trailer.mp4").write_bytes(b"")
    assert run(raw, tmp_path / "out").clips == 1
    found = {entry["source"]: entry["reason"] for entry in ledger(tmp_path / "out")}
    assert found[f"video/{IDS[2]}-3.mp4"] == f"{IDS[2]} is neither in train.txt nor in test.txt"
    assert found["video/trailer.mp4"].startswith("the name is not ID-START")
    assert {entry["check"] for entry in ledger(tmp_path / "out")} == {"split"}


def test_lists_that_contradict_or_are_missing(tmp_path: Path) -> None:
    raw, lists = tmp_path / "raw", tmp_path / "lists"
    one_clip(raw)
    (raw / "test.txt").write_text(f"{IDS[1]}\n{IDS[0]}\n")
    with pytest.raises(UserError, match=f"{IDS[0]} is in train and in test: remove it from one"):
        list_recordings(raw, lists=lists)
    (raw / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test.txt is missing.*put it there or into .*lists/yt360"):
        list_recordings(raw, lists=lists)
    (lists / "yt360").mkdir(parents=True)
    (lists / "yt360/test.txt").write_text(f"{IDS[1]}\n")
    listing = list_recordings(raw, lists=lists)
    assert [(one.origin, one.split) for one in listing.recordings] == [(IDS[0], "train")]
    (raw / "segmentation-classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="has 2 names: 80 things and 54 stuff are expected"):
        list_recordings(raw, lists=lists)


@pytest.mark.skipif(not LISTS.exists(), reason=f"the lists of YT-360 are absent: {LISTS}")
def test_the_published_lists(tmp_path: Path) -> None:
    """The real lists give a clip its split, the 134 classes, and of these the 32 that evaluation tells apart."""
    raw, lists = tmp_path / "raw", tmp_path / "lists"
    lists.mkdir()
    (lists / "yt360").symlink_to(LISTS.resolve())
    test_id = (LISTS / "test.txt").read_text().split()[5]
    train_id = (LISTS / "train.txt").read_text().split()[5]
    for origin in (test_id, train_id):
        write_pair(raw / f"video/{origin}-10.mp4", raw / f"audio/{origin}-10.m4a", 2.0, [0.5])
        write_maps(raw / f"segmentation/{origin}-10", panoptic_pictures(8))
    ingest(raw, tmp_path / "out", CONFIG, jobs=1, lists=lists)
    store = ClipStore(tmp_path / "out")
    assert {clip.origin: clip.split for clip in store} == {test_id: "test", train_id: "train"}
    classes = read_told_apart(store, str(LISTS / "segmentation-filtered-class-idx.txt"))
    assert (len(classes.names), classes.things, classes.names[0], classes.known) == (32, 16, "person", 134)
    assert not (tmp_path / "out/leaks.jsonl").exists()
    assert read_classes(tmp_path, tmp_path) is None
