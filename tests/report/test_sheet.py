"""The data sheet: what it counts, what it shows of a store with refused recordings, what it says of its origin."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.clip import Clip
from avsa.clips.ingest import ingest
from avsa.clips.leaks import LEAKS, Leak
from avsa.clips.ledger import LEDGER, Refusal
from avsa.clips.store import ClipStore
from avsa.config import Checks, Clips, Config, Synth
from avsa.errors import UserError
from avsa.report.sheet.hearing import Directions, density
from avsa.report.sheet.origin import find_origin
from avsa.report.sheet.overlaps import find_copies
from avsa.report.sheet.plots import distribution, sphere
from avsa.report.sheet.raw import formats, picture_of
from avsa.report.sheet.sample import draw_sample, look_at
from avsa.report.sheet.sheet import data_sheet
from avsa.report.sheet.tally import tally_clips, tally_refused
from avsa.report.sheet.units import duration, number, size, spread
from avsa.report.sheet.words import FIGURES, thresholds
from avsa.stages.inspect import run_inspect

SYNTH = Synth(train=3, val=1, test=1, duration_s=2.0, height=32, fps=8, sample_rate=8000)
Pixels = npt.NDArray[Any]
CLIPS = Clips(clip_s=1.0, height=32, fps=8, sample_rate=8000, channel_order="acn-sn3d")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings of two clips each; a copy of a training recording among the test ones, an empty file, a text."""
    root = tmp_path_factory.mktemp("sheet")
    raw = root / "data" / "raw" / "small"
    render_dataset(SYNTH, raw, jobs=1)
    for path in raw.glob("train/*00001*"):
        shutil.copy(path, raw / "test" / path.name.replace("train-00001", "copy"))
    (raw / "train" / "empty.mp4").touch()
    (raw / "train" / "text.mp4").write_text("no video")
    ingest(raw, root / "data" / "clips" / "small", CLIPS, jobs=1)
    return root


@pytest.fixture(scope="module")
def store(project: Path) -> ClipStore:
    return ClipStore(project / "data" / "clips" / "small")


def clip(number: int, split: str, **more: object) -> Clip:
    fields = {
        "id": f"clip-{number}", "source": f"{number // 2}.mp4", "split": split, "start_s": 0, "duration_s": 1 + number,
        "width": 64, "height": 32, "fps": 8, "frames": 8, "sample_rate": 8000, "shard": "shard-00000.tar",
        "members": {"mp4": (0, 100), "flac": (512, 50 + number // 2)}, "checks": {"rms_db": -20.0 - number},
    }  # fmt: skip
    return Clip.model_validate(fields | more)


def test_clips_are_counted_by_split() -> None:
    clips = [clip(0, "test"), clip(1, "train"), clip(2, "other"), clip(3, "train", checks={"motion": 3.0}, fps=9)]
    clips.append(clip(4, "train", members={"mp4": (0, 7), "segm.png": (9, 5)}, origin="id"))
    tally = tally_clips(iter(clips))
    assert list(tally.splits) == ["train", "test", "other"]
    train = tally.splits["train"]
    assert list(train.numbers) == [1, 3, 4]
    assert dict(train.recordings) == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1}
    assert train.origins == {"0.mp4", "1.mp4", "id"}
    assert (list(train.durations), train.labelled, train.bytes) == ([2.0, 4.0, 5.0], 1, 150 + 151 + 12)
    assert {name: list(figures) for name, figures in train.figures.items()} == {"rms_db": [-21, -24], "motion": [3]}
    assert (tally.clips, tally.seconds, tally.named()) == (5, 15.0, ["rms_db", "motion"])
    assert tally.stored == {(64, 32, 8.0, 8000): 4, (64, 32, 9.0, 8000): 1}
    assert tally.lengths == {(100, 50): [0, 1], (100, 51): [2, 3]}


def test_the_ledger_is_counted_and_examples_are_drawn(tmp_path: Path) -> None:
    entries = [
        Refusal(source=f"{i}.mp4", reason="r", check="silent" if i % 4 else "media",
                figure=-70.0 - i if i % 4 else None, threshold=-60.0 if i % 4 else None, start_s=1.0 if i % 4 else None)
        for i in range(40)
    ]  # fmt: skip
    (tmp_path / LEDGER).write_text("".join(entry.model_dump_json() + "\n" for entry in entries))
    silent, media = tally_refused(tmp_path, examples=4)
    assert (silent.check, silent.count, silent.whole, dict(silent.thresholds)) == ("silent", 30, 0, {-60.0: 30})
    assert list(silent.figures) == [-70.0 - i for i in range(40) if i % 4]
    assert (media.check, media.count, media.whole, len(media.figures)) == ("media", 10, 10, 0)
    drawn = [number for number, _ in silent.examples]
    assert len(set(drawn)) == 4
    assert drawn == sorted(drawn)
    assert all(number % 4 for number in drawn)
    assert all(entries[number] == refusal for number, refusal in silent.examples)
    seen = {n for seed in range(60) for n, _ in tally_refused(tmp_path, 4, seed)[0].examples}
    assert seen == {i for i in range(40) if i % 4}  # any may be drawn
    with (tmp_path / LEDGER).open("a") as ledger:
        ledger.write("{}\n")
    with pytest.raises(UserError, match=r"refused\.jsonl, line 41: not an entry"):
        tally_refused(tmp_path, 4)
    assert tally_refused(tmp_path / "none", 4) == []


def test_the_same_sample_every_time() -> None:
    drawn = draw_sample(range(1000, 2000), 50)
    assert drawn == draw_sample(range(1000, 2000), 50) == sorted(set(drawn))
    assert len(drawn) == 50
    assert set(drawn) < set(range(1000, 2000))
    assert draw_sample([4, 9], 50) == [4, 9]


def test_a_sample_is_heard_and_seen(store: ClipStore) -> None:
    """synth360's sound comes from where its truth says; label maps cover the sphere."""
    sample = look_at(store, range(len(store)), pictures=3)
    assert (sample.clips, sample.told, sample.mapped, len(sample.damaged)) == (12, 12, 12, 0)
    np.testing.assert_allclose(sample.sound.weight.sum(), 12)
    np.testing.assert_allclose(sum(sample.shares.values()), 12)
    assert max(sample.seen.values()) <= 12
    assert sample.off is not None
    assert sample.chance is not None
    assert sample.off < 0.4 < sample.chance
    assert len(sample.pictures) == 3
    first = next(iter(sample.pictures.values()))
    assert first.shape == (3, 32, 64)
    assert float(first.float().std()) > 10


def test_a_damaged_clip_is_left_out_and_named(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "data" / "clips" / "small", tmp_path / "store")
    store = ClipStore(tmp_path / "store")
    offset, length = store[2].members["flac"]
    with (tmp_path / "store" / store[2].shard).open("r+b") as shard:
        shard.seek(offset)
        shard.write(bytes(length))
    sample = look_at(store, range(4), pictures=1)
    assert (sample.clips, list(sample.damaged)) == (3, [store[2].id])


def test_copies_are_found_by_content(store: ClipStore) -> None:
    tally = tally_clips(store)
    copies = find_copies(store, tally.lengths.values(), 100)
    assert [sorted(clip.split for clip in group) for group in copies] == [["test", "train"]] * 2
    assert {clip.id for group in copies for clip in group} == {
        "test-copy-0000", "test-copy-0001", "train-00001-0000", "train-00001-0001",
    }  # fmt: skip
    assert find_copies(store, [list(range(len(store)))], 0) == []
    others = [i for i in range(len(store)) if store[i].source != "test/copy.mp4"]
    assert find_copies(store, [others], 100) == []


def test_the_whole_sheet(project: Path, tmp_path: Path) -> None:
    root, raw = project / "data" / "clips" / "small", project / "data" / "raw" / "small"
    data_sheet(root, tmp_path / "a" / "sheet.html", CLIPS, raw)
    html = (tmp_path / "a" / "sheet.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "<script" not in html
    for text in (
        "12 from 6 recordings", "<dd>12 s</dd>", "2 recordings failed a check", "Files that cannot be opened · 2",
        "train/empty.mp4", "no picture can be decoded", "the file is empty", "64×32, 8 fps, h264",
        "4 channels, 8 kHz, aac", "Clips are 1 s long, 2 from a recording.",
        "test-copy-0000 (test), train-00001-0000 (train)",
        "Thresholds are those of the present configuration", "at least −60", "6 of train, 2 of val, 4 of test",
    ):  # fmt: skip
        assert text in html, text
    words = [FIGURES[name].title for name in ("rms_db", "spatial_db", "motion", "seam")]
    assert all(f"Distribution of {title}" in html for title in words)
    assert html.count("<h3>train</h3>") == html.count("<h3>test</h3>") == 1
    data_sheet(root, tmp_path / "again.html", CLIPS, raw)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html
    data_sheet(root, tmp_path / "alone.html", CLIPS, tmp_path / "none", sample=1)
    alone = (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert "the raw files are not there" in alone
    assert "no picture can be decoded" not in alone
    assert "1 of train, 1 of val, 1 of test" in alone


def test_a_store_of_which_nothing_passed(tmp_path: Path) -> None:
    entry = Refusal(
        source="<a>.mp4", reason="the sound is silent", check="silent", figure=-200, threshold=-60, start_s=0
    )
    (tmp_path / LEDGER).write_text(entry.model_dump_json() + "\n")
    data_sheet(tmp_path, tmp_path / "sheet.html", CLIPS)
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "No clip passed the checks" in html
    assert "&lt;a&gt;.mp4" in html
    with pytest.raises(UserError, match="no clip store at"):
        data_sheet(tmp_path / "none", tmp_path / "sheet.html", CLIPS)


def test_leaks_and_shared_recordings_are_listed(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(project / "data" / "clips" / "small", root)
    (root / LEAKS).write_text(
        Leak(origin="abc", split="train", other="elsewhere", other_split="test").model_dump_json()
    )
    lines = (root / "manifest.jsonl").read_text().splitlines()
    same = [line.replace("test/copy.mp4", "train/train-00001.mp4") for line in lines]
    (root / "manifest.jsonl").write_text("\n".join(same) + "\n")
    data_sheet(root, tmp_path / "sheet.html", CLIPS, sample=0)
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "abc, train here, is test in elsewhere." in html
    assert "In more than one split: train/train-00001.mp4." in html


def test_what_dvc_knows(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "data" / "clips" / "small"
    shutil.copytree(project / "data" / "clips" / "small", store)
    sizes = [path.stat().st_size for path in store.iterdir()]
    assert find_origin(store) is None
    lock = """
schema: '2.0'
stages:
  ingest:
    cmd: avsa ingest
    deps: [{{path: data/raw/small, md5: aaa.dir}}]
    params: {{resolved.yaml: {{clips: {{fps: 8.0, checks: {{min_rms_db: -51.5}}}}}}}}
    outs: [{{path: data/clips/small, md5: bbb.dir, size: {size}, nfiles: {files}}}]
"""
    for total, fits in ((sum(sizes), True), (sum(sizes) + 1, False)):
        (tmp_path / "dvc.lock").write_text(lock.format(size=total, files=len(sizes)))
        origin = find_origin(store)
        assert origin is not None
        assert (origin.command, origin.digest, origin.inputs) == (
            "avsa ingest",
            "bbb.dir",
            {"data/raw/small": "aaa.dir"},
        )
        assert origin.fits is fits
    data_sheet(store, tmp_path / "sheet.html", CLIPS, sample=0)
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    for text in (
        "Thresholds are those recorded in dvc.lock",
        "at least −51.5",
        "bbb.dir",
        "The folder is not what was",
    ):
        assert text in html, text
    store.with_name("small.dvc").write_text("outs:\n- {path: small, md5: ccc.dir}\n")
    added = find_origin(store)
    assert added is not None
    assert (added.file.name, added.command, added.digest, added.fits) == ("small.dvc", "", "ccc.dir", None)


def test_thresholds_are_found_by_name() -> None:
    checks = Checks(min_rms_db=-50, max_seam=3, max_start_offset_s=0.25)
    assert thresholds("rms_db", checks) == (-50, None)
    assert thresholds("seam", checks) == (None, 3)
    assert thresholds("start_offset_s", checks) == (-0.25, 0.25)
    assert thresholds("gain_db", checks) == (None, None)


def dark(path: Path, colour: Callable[[Pixels], Pixels]) -> Pixels:
    """Where in a picture, as (row, column) shares of its size, the pixels are that the function finds; their mean."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    found = np.argwhere(colour(pixels))
    assert len(found)
    return np.asarray(found.mean(0) / pixels.shape[:2])


def test_maps_have_left_on_the_left_and_up_on_top(tmp_path: Path) -> None:
    def strongest(pixels: Pixels) -> Pixels:
        rows = np.arange(len(pixels))[:, None] < 0.8 * len(pixels)  # without the bar below
        return np.asarray((pixels[..., 2] > pixels[..., 0] + 50) & (pixels.sum(-1) < 250) & rows)

    where = {}
    for name, azimuth, elevation in (("ahead", 0.0, 0.0), ("left", 1.5, 0.0), ("up", 0.0, 1.0), ("right", -1.5, -0.5)):
        one = Directions(np.array([azimuth]), np.array([elevation]), np.ones(1))
        where[name] = dark(sphere(density(one), tmp_path / f"{name}.png"), strongest)
    row, column = where["ahead"]
    assert where["left"][1] < column - 0.15
    assert abs(where["left"][0] - row) < 0.03
    assert where["up"][0] < row - 0.15
    assert abs(where["up"][1] - column) < 0.03
    assert where["right"][1] > column + 0.15
    assert where["right"][0] > row + 0.05


def test_thresholds_stand_where_they_are(tmp_path: Path) -> None:
    """Values around 0 with a threshold at 2 or −2: the refused side is on the right, or on the left, of all bars."""
    values = {"train": np.random.default_rng(0).uniform(-1, 1, 300).tolist()}

    def shaded(pixels: Pixels) -> Pixels:
        return np.asarray((pixels[..., 0] > 245) & (pixels[..., 1] < 246) & (pixels[..., 1] > 230))

    def bars(pixels: Pixels) -> Pixels:
        return np.asarray(pixels[..., 2] - pixels[..., 0] > 60)

    above = distribution(values, tmp_path / "above.png", most=2, refused=[2.5, 40])
    below = distribution(values, tmp_path / "below.png", least=-2)
    assert shaded(np.asarray(Image.open(above).convert("RGB"), int)).mean() > 1e-2
    assert dark(above, shaded)[1] > dark(above, bars)[1] + 0.2
    assert dark(below, shaded)[1] < dark(below, bars)[1] - 0.2
    pixels = np.asarray(Image.open(distribution(values, tmp_path / "far.png", least=-500)).convert("RGB")).astype(int)
    assert shaded(pixels).mean() < 1e-3  # out of the picture: an arrow says so, whose edges are of that colour


def test_raw_files_as_far_as_they_can_be_reached(project: Path) -> None:
    raw = project / "data" / "raw" / "small"
    image = picture_of(raw, "train/train-00000.mp4", 1.5, 40)
    assert isinstance(image, Image.Image)
    assert image.size == (40, 20)
    first = picture_of(raw, "train/train-00000.mp4", 0, 40)
    assert np.abs(np.asarray(first, int) - np.asarray(image, int)).max() > 20  # another moment
    assert picture_of(raw, "train/empty.mp4", 0, 40) == "no picture can be decoded"
    assert picture_of(raw, "train/gone.mp4", 0, 40) == "the raw file is not there"
    assert picture_of(raw, "train/train-00000.m4a", 0, 40) == "a file of sound"
    assert picture_of(None, "train/train-00000.mp4", 0, 40) == "the raw files are not there"
    found = formats(raw, ["train/train-00000.mp4", "test/test-00000.mp4", "train/empty.mp4", "gone.mp4"])
    assert {(kind.picture, kind.sound): count for kind, count in found.items()} == {
        ("64×32, 8 fps, h264", "4 channels, 8 kHz, aac"): 2
    }


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (2.5, 250, 7200)] == ["2.5 s", "4 min 10 s", "2.0 h"]
    assert [size(b) for b in (999, 14_960_000, 2e13)] == ["999 B", "15 MB", "20 TB"]
    assert [number(x) for x in (-18.83, 0.0, 1234.5)] == ["−18.8", "0", "1,234"]
    assert [spread([3.0, 3.0], "s"), spread([1, 10])] == ["3 s", "from 1 to 10"]


def test_the_verb_knows_where_things_are(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = project / "data" / "clips" / "small"
    assert run_inspect(Config(clips=CLIPS), store, None, "acn-sn3d", None) == Path("reports/small.html")
    html = (tmp_path / "reports" / "small.html").read_text(encoding="utf-8")
    assert "no picture can be decoded" in html  # the raw files were found beside the store
    with pytest.raises(UserError, match=r"no clip store at .*raw"):
        run_inspect(Config(), project / "data" / "raw" / "small", tmp_path / "x.html", "acn-sn3d", None)
