"""Label maps of a clip store beside its views: cropped as the video is, at the time of the window's centre.

A clip's maps may be of any size: like the video they span 360°×180°. Of the maps of a clip the one nearest in time to
the mean time of the window's frames counts, the earlier of two equally near.

Shapes: N rows, K crops, H×W pixels of a map, h×w of a crop.
"""

import json
import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avsa.clips.clip import Clip
from avsa.clips.label_maps import count_maps, read_map
from avsa.clips.store import ClipStore
from avsa.config import Views
from avsa.data.batch import Batch
from avsa.data.dataset import ClipExamples, Example
from avsa.data.draw import draw_windows
from avsa.errors import UserError
from avsa.geometry.crops import perspective_batch
from avsa.geometry.released import released_perspective

log = logging.getLogger(__name__)

IGNORE = 255
"""The class of pixels that neither train nor count."""

MEMBER = "segm.png"
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Classes:
    """The classes that are told apart.

    Attributes:
        names: by class.
        things: so many of the first classes are things; the others are stuff.
        known: number of the ids that label maps may hold besides `IGNORE`.
        class_256: the class of an id in the label maps; `IGNORE` for ids that are not told apart.
    """

    names: tuple[str, ...]
    things: int
    known: int
    class_256: Bytes


def read_classes(store: ClipStore, chosen: str = "") -> Classes:
    """The classes of a store's ``classes.json``: ``{"things": [names], "stuff": [names]}``, ids counted through.

    Args:
        chosen: path of a file with one id per line, in the order of the classes; all ids where it is empty.

    Raises:
        UserError: a file is missing or damaged, or an id is out of range or there twice.
    """
    path = store.root / "classes.json"
    try:
        if (text := store.beside("classes.json")) is None:
            raise UserError(f"{path}: no such file: it names the classes of the label maps")
        named = json.loads(text)
        things, names = len(named["things"]), [str(name) for name in [*named["things"], *named["stuff"]]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f'{path}: {{"things": [names], "stuff": [names]}} is expected') from None
    ids = _read_ids(Path(chosen), len(names)) if chosen else list(range(len(names)))
    if len(names) > IGNORE:
        raise UserError(f"{path}: {len(names)} classes; label maps of 8 bits hold at most {IGNORE}")
    class_256 = np.full(256, IGNORE, np.uint8)
    class_256[ids] = np.arange(len(ids))
    return Classes(tuple(names[i] for i in ids), sum(i < things for i in ids), len(names), class_256)


def _read_ids(path: Path, known: int) -> list[int]:
    try:
        numbers = [float(line) for line in path.read_text(encoding="utf-8").split()]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: evaluate.segmentation.classes names it") from None
    except ValueError as error:
        raise UserError(f"{path}: one class id per line is expected ({error})") from None
    for number in numbers:
        if number not in range(known):
            raise UserError(f"{path}: class id {number:g} is out of range: there are {known} classes, from 0 on")
    if not numbers or len(set(numbers)) < len(numbers):
        raise UserError(f"{path}: {'a class id is there twice' if numbers else 'no class ids'}")
    return [int(number) for number in numbers]


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch with each row's label map, uint8; `IGNORE` where there is no class."""

    labels_NHW: Tensor

    def crops(self, views: Views) -> Tensor:
        """The rows' label maps seen as the video is, each pixel from the nearest one of the map: `target_NKhw`."""
        seen = self.azimuth_NK, self.elevation_NK, self.fov_NK
        labels_N11HW = self.labels_NHW[:, None, None]
        if views.rule == "released":
            rows = zip(labels_N11HW, *seen, self.aspect_NK, strict=True)
            target_NKhw = torch.stack([
                released_perspective(maps_11HW, azimuth_K, elevation_K, fov_K, views.size, aspect_K, "nearest")
                for maps_11HW, azimuth_K, elevation_K, fov_K, aspect_K in rows
            ])[:, :, 0, 0]  # fmt: skip
            return torch.where(self.mirror_NK[..., None, None], target_NKhw.flip(-1), target_NKhw)
        crops_NK11hw = perspective_batch(
            labels_N11HW, *seen, views.size, aspect_BK=self.aspect_NK, mode="nearest", mirror_BK=self.mirror_NK
        )
        return crops_NK11hw[:, :, 0, 0]


class LabelledExamples(ClipExamples):
    """The examples of a store, and the label maps of their windows; clips without maps are left out, with a warning.

    Raises:
        UserError: on construction, if no clip has label maps, or as `ClipExamples`.
    """

    def __init__(self, classes: Classes, store: ClipStore, views: Views, seed: int, moments: int) -> None:
        super().__init__(store, views, seed, moments)
        self.classes = classes
        has_maps = np.array([MEMBER in form.members for form in store.columns.forms])
        self.usable = self.usable[has_maps[store.columns["form"][self.usable]]]
        without = len(store) - len(self.usable)
        if not len(self.usable):
            raise UserError(f"none of {without} clips of {store.root} has label maps: make them before ingest")
        if without:
            log.warning("%d of %d clips are left out: they have no label maps or are too short", without, len(store))

    def batch(self, examples: list[Example]) -> LabelledBatch:
        """The rows of the examples with their label maps.

        Raises:
            UserError: as `ClipExamples`, or a label map is damaged, of another size or with an unknown class.
        """
        batch = super().batch(examples)
        maps: list[Bytes] = []
        for example in examples:
            clip = self.store[example.clip]
            key = (self.seed, example.epoch, example.repeat, example.clip)
            png = self.store.read(clip, MEMBER)
            for window in draw_windows(clip, self.views, self.moments, *key):
                centre_s = (window.first_frame + (self.views.frames - 1) / 2) / clip.fps
                try:
                    labels_HW = label_map(png, clip, centre_s)
                    if maps and labels_HW.shape != maps[0].shape:
                        raise ValueError(f"label map of another size: {_size(labels_HW)} instead of {_size(maps[0])}")
                    if len(unknown := np.setdiff1d(labels_HW, [*range(self.classes.known), IGNORE])):
                        raise ValueError(
                            f"class id {unknown[0]} in a label map: classes.json names {self.classes.known}"
                        )
                except ValueError as error:
                    raise UserError(f"clip {clip.id} in {self.store.root / clip.shard}: {error}") from None
                maps.append(self.classes.class_256[labels_HW])
        rows = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return LabelledBatch(**rows, labels_NHW=torch.from_numpy(np.stack(maps)))


def label_map(png: bytes, clip: Clip, time_s: float) -> Bytes:
    """The map (ids, H×W) nearest to a time among a clip's maps.

    Raises:
        ValueError: they are damaged, or end before.
    """
    fps, count = clip.label_fps or 0, count_maps(png)
    index = math.ceil(time_s * fps - 0.5 - 1e-6)  # a tie goes to the earlier map, rounding errors or not
    if fps == 0 or index > count:
        raise ValueError(f"{count} label maps at {fps:g} per second: none belongs to {time_s:.2f} s")
    return read_map(png, min(max(index, 0), count - 1))


def _size(image: Bytes) -> str:
    return f"{image.shape[1]}×{image.shape[0]}"
