"""Pictures of a segmentation: crops with their label maps, and which class is taken for which.

Shapes: H×W pixels, C classes (3 colours of a picture).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from avsa.report.contact import label_colour
from avsa.report.style import FAINT, GREY, INK, TEXT, save

Labels = npt.NDArray[np.uint8]
TILE = 1.35  # inches
LEGEND_COLUMNS = 5


@dataclass(frozen=True)
class Segmented:
    """One crop: the picture in [0, 1], what is there (255 is ignored), and what each setting says."""

    name: str
    picture_HWC: npt.NDArray[np.float32]
    target_HW: Labels
    predicted: Mapping[str, Labels]


def segments_picture(crops: Sequence[Segmented], classes: Sequence[str], things: int, path: Path) -> Path:
    """Rows of picture, target, predictions; below, the colours of the classes that are seen in them.

    Args:
        things: so many of the first classes are things.
    """
    settings = list(crops[0].predicted)
    columns = ["crop", "target", *settings]
    colours = np.array([label_colour(label, things) for label in range(256)], np.uint8)
    maps = [one for crop in crops for one in (crop.target_HW, *crop.predicted.values())]
    seen = sorted({int(label) for one in maps for label in np.unique(one)})
    legend_rows = -(-len(seen) // LEGEND_COLUMNS)
    title = 0.4 if any("context" in name for name in settings) else 0.24  # two lines, or one
    height = TILE * len(crops) + title + 0.24 * legend_rows
    figure = Figure(figsize=(TILE * len(columns), height))
    top, bottom = 1 - title / height, (0.24 * legend_rows + 0.05) / height
    grid = figure.add_gridspec(
        len(crops), len(columns), left=0.004, right=0.996, top=top, bottom=bottom, wspace=0.04, hspace=0.04
    )
    for row, crop in enumerate(crops):
        shown: list[npt.NDArray[Any]] = [
            crop.picture_HWC,
            colours[crop.target_HW],
            *(colours[crop.predicted[name]] for name in settings),
        ]
        for column, image in enumerate(shown):
            ax = figure.add_subplot(grid[row, column])
            ax.imshow(image, interpolation="nearest")
            ax.set_axis_off()
            if row == 0:
                ax.set_title(columns[column].replace("audio+", "audio\n+"), fontsize=TEXT - 1, color=INK, pad=4)
    patches = [
        Patch(color=colours[label] / 255, label="ignored" if label >= len(classes) else classes[label])
        for label in seen
    ]
    figure.legend(
        handles=patches, loc="lower center", ncols=LEGEND_COLUMNS, fontsize=TEXT - 1, frameon=False, borderaxespad=0.2,
        handlelength=1.0, handleheight=1.0, labelspacing=0.25, columnspacing=1.0, labelcolor=INK,
    )  # fmt: skip
    return save(figure, path)


def confusion_picture(
    confusions: Mapping[str, npt.NDArray[np.int64]], classes: Sequence[str], path: Path, counted: str = "pixels"
) -> Path:
    """A matrix for each setting: of the pixels of the row's class, the percentage taken for the column's."""
    count = len(classes)
    side = 1.7 + 0.3 * count
    figure = Figure(figsize=(side, side * len(confusions)), layout="constrained")
    for ax, (setting, confusion_CC) in zip(
        figure.subplots(len(confusions), squeeze=False)[:, 0], confusions.items(), strict=True
    ):
        _matrix(ax, confusion_CC, classes, counted)
        ax.set_title(setting, fontsize=TEXT + 1, color=INK)
    return save(figure, path)


def _matrix(ax: Axes, confusion_CC: npt.NDArray[np.int64], classes: Sequence[str], counted: str) -> None:
    count, pixels_C1 = len(classes), confusion_CC.sum(1, keepdims=True)
    percent_CC = 100 * confusion_CC / np.maximum(pixels_C1, 1)
    ax.imshow(percent_CC, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(percent_CC >= 0.5):
        value = percent_CC[row, column]
        ax.text(
            column,
            row,
            f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=TEXT - 2,
            color="white" if value > 55 else INK,
        )
    labels = [name if pixels else f"{name} (none)" for name, pixels in zip(classes, pixels_C1[:, 0], strict=True)]
    ax.set_yticks(range(len(classes)), labels, fontsize=TEXT - 1, color=INK)
    ax.set_xticks(range(len(classes)), classes, fontsize=TEXT - 1, color=INK, rotation=90)
    ax.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=FAINT, linewidth=0.5)
    ax.tick_params(which="both", length=0)
    ax.set_ylabel("target", color=GREY)
    ax.set_xlabel(f"prediction, % of the target's {counted}", color=GREY)
    for side in ax.spines.values():
        side.set_visible(False)
