"""Pictures of segmentations show what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from avsa.report.contact import label_colour
from avsa.report.segments import Segmented, confusion_picture, segments_picture

CLASSES = ("cat", "dog", "sky", "sand")


def colours(path: Path) -> dict[tuple[int, ...], int]:
    """Colour -> number of pixels."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(int(c) for c in colour): int(n) for colour, n in zip(found, counts, strict=True)}


def test_every_class_has_its_area(tmp_path: Path) -> None:
    """A crop, a target that is half ignored, and two predictions, of which one has a class of its own."""
    target = np.full((8, 8), 255, np.uint8)
    target[:4] = 2
    first, second = np.full((8, 8), 2, np.uint8), np.full((8, 8), 0, np.uint8)
    picture: npt.NDArray[np.float32] = np.full((8, 8, 3), (1, 0, 1), np.float32)
    crop = Segmented("clip-0", picture, target, {"video": first, "video+audio": second})
    found = colours(segments_picture([crop, crop], CLASSES, 2, tmp_path / "s.png"))
    tile = found[(255, 0, 255)]
    assert abs(found[label_colour(0, 2)] / tile - 1) < 0.05  # and the legend's patch
    assert abs(found[label_colour(2, 2)] / tile - 1.5) < 0.05
    assert abs(found[label_colour(255, 2)] / tile - 0.5) < 0.05
    assert label_colour(1, 2) not in found  # what is nowhere is not in the legend


def test_confusions_of_all_settings(tmp_path: Path) -> None:
    right = 1000 * np.eye(4, dtype=np.int64)
    right[3] = 0  # a class that does not occur
    wrong = np.roll(right, 1, 1)
    one = Image.open(confusion_picture({"video": right}, CLASSES, tmp_path / "one.png"))
    two = Image.open(confusion_picture({"video": right, "video+audio": wrong}, CLASSES, tmp_path / "two.png"))
    assert two.height > 1.8 * one.height
    darkest = (8, 48, 107)  # the end of the scale: 100 %
    cells = colours(tmp_path / "one.png")[darkest]
    assert abs(colours(tmp_path / "two.png")[darkest] / cells - 2) < 0.1
