"""Label maps beside the views: the right map, seen from the right place."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_clips import FPS, HEIGHT, LABEL_FPS, Bytes, Floats, ordinary_clip, sound_field, write_store

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.dataset import ClipExamples, Example
from avsa.data.draw import draw_windows
from avsa.data.labels import IGNORE, Classes, LabelledBatch, LabelledExamples, read_classes
from avsa.data.loader import Loader
from avsa.data.views import PICTURE_MEAN, PICTURE_STD, Views
from avsa.errors import UserError
from avsa.tasks import segmentation

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
FRAMES = 20
MAPS = math.ceil(FRAMES / FPS * LABEL_FPS)
VIEWS = config.Views(size=16, frames=3, audio_s=0.5, crops=3, jitter=(0, 0, 0, 0), fov_deg=(50, 110), aspect=(0.7, 1.4))
NAMES = {"things": ["cat", "dog"], "stuff": ["sky", "sand", "sea"]}
KEY = (7, 2, 1)  # seed, epoch, repeat


def patches(seed: int, height: int) -> Bytes:
    """One map of the five classes in patches, height × 2·height."""
    coarse = np.random.default_rng(seed).integers(0, 5, (8, 16))
    return coarse.repeat(height // 8, 0).repeat(height // 8, 1).astype(np.uint8)


def named_store(root: Path, labels: list[Bytes], clips: list[tuple[Bytes, Floats]] | None = None) -> ClipStore:
    store = write_store(root, clips or [ordinary_clip(i, FRAMES) for i in range(len(labels))], labels=labels)
    (root / "classes.json").write_text(json.dumps(NAMES))
    return store


def still(labels_HW: Bytes) -> Bytes:
    return labels_HW[None].repeat(MAPS, 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    """Maps of half the video's size."""
    return named_store(tmp_path_factory.mktemp("store"), [still(patches(i, HEIGHT // 2)) for i in range(4)])


def rows(store: ClipStore, *clips: int, views: config.Views = VIEWS) -> LabelledBatch:
    examples = LabelledExamples(read_classes(store), store, views, KEY[0], 1)
    return examples.batch([Example(*KEY[1:], clip) for clip in clips])


# Where


def slow_crop(labels_HW: Bytes, batch: LabelledBatch, n: int, k: int, size: int) -> tuple[Bytes, Bytes]:
    """What the map has where each pixel's ray through the camera's plane goes; and whether the ray is so near to the
    border of two pixels that rounding decides."""
    height, width = labels_HW.shape
    azimuth, elevation, fov, aspect = (
        float(x[n, k]) for x in (batch.azimuth_NK, batch.elevation_NK, batch.fov_NK, batch.aspect_NK)
    )
    half_width = math.tan(fov / 2)
    half_height = half_width / aspect
    ahead = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    left = np.array([-math.sin(azimuth), math.cos(azimuth), 0])
    up = np.cross(ahead, left)
    crop, near = np.zeros((size, size), np.uint8), np.zeros((size, size), bool)
    for i in range(size):
        for j in range(size):
            across = (1 - 2 * (j + 0.5) / size) * half_width
            x, y, z = (
                ahead
                + (-across if batch.mirror_NK[n, k] else across) * left
                + (1 - 2 * (i + 0.5) / size) * half_height * up
            )
            u = (1 - math.atan2(y, x) / math.pi) * width / 2 - 0.5
            v = (0.5 - math.atan2(z, math.hypot(x, y)) / math.pi) * height - 0.5
            crop[i, j] = labels_HW[min(max(round(v), 0), height - 1), round(u) % width]
            near[i, j] = min(abs(u % 1 - 0.5), abs(v % 1 - 0.5)) < 1e-3
    return crop, near


def test_every_pixel_is_the_nearest_one_of_the_map(store: ClipStore) -> None:
    batch = rows(store, 0, 3)
    batch = replace(batch, mirror_NK=torch.tensor([[True, False, True], [False, True, False]]))
    found = batch.crops(VIEWS).numpy()
    assert found.shape == (2, 3, 16, 16)
    for n, clip in enumerate((0, 3)):
        for k in range(3):
            expected, near = slow_crop(patches(clip, HEIGHT // 2), batch, n, k, 16)
            assert near.mean() < 0.05
            np.testing.assert_array_equal(found[n, k][~near], expected[~near])


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("height", [HEIGHT, HEIGHT // 2, 2 * HEIGHT])
def test_labels_lie_where_the_video_has_them(tmp_path: Path, height: int, rule: str) -> None:
    """A picture painted by its own labels: the crops say the same, but for borders that the codec and pixels blur."""
    views = VIEWS.model_copy(update={"size": 48, "rule": rule, "mirror": 0.5})
    labels = [patches(i, height) for i in range(2)]
    painted = [(30 + 45 * patches(i, HEIGHT))[None, ..., None].repeat(FRAMES, 0).repeat(3, 3) for i in range(2)]
    sounds = [sound_field(i, FRAMES * 1000) for i in range(2)]
    store = named_store(tmp_path, [still(one) for one in labels], list(zip(painted, sounds, strict=True)))
    batch = rows(store, 0, 1, views=views)
    batch = replace(batch, mirror_NK=torch.tensor([[True, False, True], [False, True, False]]))
    video_NKCTHW = Views(views, config.Audio(kind="mono", mels=8, window=256, hop=160), 8000).video(batch)
    mean, std = torch.tensor(PICTURE_MEAN), torch.tensor(PICTURE_STD)
    grey_NKHW = ((video_NKCTHW[:, :, :, 1].movedim(2, -1) * std + mean) * 255).mean(-1)
    seen_NKHW = ((grey_NKHW - 30) / 45).round()
    agree = (seen_NKHW == batch.crops(views)).float().mean((2, 3))
    # The grids of `released` start on the edge: half a pixel, which is wider in a coarser map.
    assert float(agree.min()) > (0.85 if rule == "paper" else 0.75)
    flipped = (seen_NKHW == batch.crops(views).flip(-1)).float().mean()
    assert float(flipped) < 0.5  # the test would see a mirrored map


# When


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6])
def test_the_map_nearest_to_the_windows_centre(tmp_path: Path, frames: int) -> None:
    numbered = np.arange(MAPS, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(16, 2)
    store = write_store(tmp_path, [ordinary_clip(0, FRAMES)], labels=[numbered])
    views = VIEWS.model_copy(update={"frames": frames, "audio_s": 0.1})
    classes = Classes(tuple(map(str, range(MAPS))), 0, MAPS, np.arange(256).astype(np.uint8))
    examples = LabelledExamples(classes, store, views, 3, 1)
    starts = set()
    for epoch in range(60):
        batch = examples.batch([Example(epoch, 0, 0)])
        (window,) = draw_windows(store[0], views, 1, 3, epoch, 0, 0)
        shown_s = [(window.first_frame + t) / FPS for t in range(frames)]
        distance = [abs(i / LABEL_FPS - sum(shown_s) / frames) for i in range(MAPS)]
        nearest = next(i for i in range(MAPS) if distance[i] <= min(distance) + 1e-9)
        assert set(batch.labels_NHW.unique().tolist()) == {nearest}
        starts.add(window.first_frame)
    assert len(starts) > 8


def test_the_video_and_the_sound_stay_what_they_are(store: ClipStore) -> None:
    plain = ClipExamples(store, VIEWS, KEY[0], 2).batch([Example(*KEY[1:], clip) for clip in (1, 2)])
    labelled = LabelledExamples(read_classes(store), store, VIEWS, KEY[0], 2).batch(
        [Example(*KEY[1:], clip) for clip in (1, 2)]
    )
    assert all(torch.equal(getattr(plain, f.name), getattr(labelled, f.name)) for f in fields(plain) if f.name != "ids")
    assert plain.ids == labelled.ids
    assert labelled.labels_NHW.shape == (4, HEIGHT // 2, HEIGHT)


def test_labels_come_through_workers_and_to_a_device(store: ClipStore) -> None:
    def batches(workers: int) -> list[LabelledBatch]:
        examples = LabelledExamples(read_classes(store), store, VIEWS, 1, 1)
        loader = Loader(examples, examples.usable, store.root, batch=2, seed=1, workers=workers)
        found = []
        for batch in loader.epoch(0):
            assert isinstance(batch, LabelledBatch)
            found.append(batch.to("cpu"))
        return found

    for here, there in zip(batches(0), batches(1), strict=True):
        assert torch.equal(here.labels_NHW, there.labels_NHW)
        assert torch.equal(here.azimuth_NK, there.azimuth_NK)


# Classes


def test_classes_that_are_not_told_apart_are_ignored(tmp_path: Path) -> None:
    labels = patches(0, 32)
    labels[:4] = IGNORE
    store = named_store(tmp_path, [still(labels)])
    assert read_classes(store).names == ("cat", "dog", "sky", "sand", "sea")
    assert read_classes(store).things == 2
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("4.000000000000000000e+00\n1.0\n2\n")
    classes = read_classes(store, str(chosen))
    assert classes.names == ("sea", "dog", "sky")
    assert classes.things == 1
    batch = LabelledExamples(classes, store, VIEWS, 0, 1).batch([Example(0, 0, 0)])
    expected = np.select([labels == 4, labels == 1, labels == 2], [0, 1, 2], IGNORE)
    np.testing.assert_array_equal(batch.labels_NHW[0].numpy(), expected)
    assert IGNORE == segmentation.IGNORE


def test_the_classes_of_yt360(tmp_path: Path) -> None:
    folder = SHARED / "yt360"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    names = (folder / "segmentation-classes.txt").read_text().split("\n")[:134]
    store = named_store(tmp_path, [still(patches(0, 32))])
    (tmp_path / "classes.json").write_text(json.dumps({"things": names[:80], "stuff": names[80:]}))
    classes = read_classes(store, str(folder / "segmentation-filtered-class-idx.txt"))
    assert len(classes.names) == len(set(classes.names)) == 32
    assert classes.things == 16
    assert classes.names[:4] == ("person", "car", "airplane", "boat")
    assert (classes.class_256 != IGNORE).sum() == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\n5\n", "class id 5 is out of range: there are 5"),
        ("-1\n", "class id -1 is out of range"),
        ("1.5\n", "class id 1.5 is out of range"),
        ("nan\n", "class id nan is out of range"),
        ("1\n2\n1\n", "twice"),
        ("cat\n", "one class id per line"),
        ("", "no class ids"),
        (None, "No such file.*evaluate.segmentation.classes"),
    ],
)
def test_lists_of_ids_that_cannot_be_meant(store: ClipStore, tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_classes(store, str(path))


@pytest.mark.parametrize("content", ["[]", "{", '{"things": ["a"]}', '{"things": 3, "stuff": []}', None])
def test_damaged_names(tmp_path: Path, content: str | None) -> None:
    store = write_store(tmp_path, [ordinary_clip(0)])
    if content is not None:
        (tmp_path / "classes.json").write_text(content)
    with pytest.raises(UserError, match=r"classes\.json"):
        read_classes(store)


# Maps that cannot be used


def test_clips_without_label_maps(tmp_path: Path) -> None:
    store = write_store(tmp_path, [ordinary_clip(0, FRAMES)])
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    with pytest.raises(UserError, match=r"none of 1 clips .* has label maps: make them before ingest"):
        rows(store, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([still(patches(0, 32)), still(patches(1, 64))], "clip-1 .*label map of another size: 128×64 instead of 64×32"),
        (
            [still(patches(0, 32)), still(np.zeros((33, 64), np.uint8))],
            "clip-1 .*of another size: 64×33 instead of 64×32",
        ),
        ([still(patches(0, 32)), still(patches(0, 32)) + np.uint8(1)], "clip-1 .*class id 5 in a label map"),
        (
            [still(patches(0, 32)), still(patches(0, 32))[:2]],
            r"clip-1 .*2 label maps at 3 per second: none belongs to \d",
        ),
    ],
)
def test_maps_that_do_not_fit(tmp_path: Path, labels: list[Bytes], message: str) -> None:
    store = named_store(tmp_path, labels)
    examples = LabelledExamples(read_classes(store), store, VIEWS, 0, 1)
    late = next(e for e in range(99) if draw_windows(store[1], VIEWS, 1, 0, e, 0, 1)[0].first_frame > 12)
    with pytest.raises(UserError, match=message):
        examples.batch([Example(late, 0, 0), Example(late, 0, 1)])


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    store = named_store(tmp_path, [still(patches(0, 32))])
    offset, _ = store[0].members["segm.png"]
    with (tmp_path / "shard-00000.tar").open("r+b") as shard:
        shard.seek(offset)
        shard.write(b"nothing")
    with pytest.raises(UserError, match=r"clip-0 .*label maps cannot be read"):
        rows(store, 0)
