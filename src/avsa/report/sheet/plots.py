"""The sheet's plots: distributions with their thresholds, and maps of the sphere.

Shapes: E×A fields of the sphere (`avsa.report.sheet.hearing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from avsa.report.sheet.units import number
from avsa.report.style import FAINT, GREY, INK, OTHERS, TEXT, axes, save

Floats = npt.NDArray[np.float64]

SPLITS = {"train": "#3b6fa8", "val": "#b7791f", "test": "#2a9d9d"}
REFUSED = "#c23b4b"
_BINS = (8, 40)  # least, most


def split_colours(splits: Sequence[str]) -> dict[str, str]:
    """A colour for every split."""
    others = [split for split in splits if split not in SPLITS]
    return SPLITS | {split: OTHERS[i % len(OTHERS)] for i, split in enumerate(others)}


def distribution(
    values: Mapping[str, Sequence[float]],
    path: Path,
    *,
    least: float | None = None,
    most: float | None = None,
    refused: Sequence[float] = (),
) -> Path:
    """Shares of each split's clips over a figure; broken lines at its thresholds, marks for what was refused.

    The axis spans what was accepted, and a threshold where it is not far from that; what lies outside (refused
    figures as arrows, far outliers) is drawn at its ends.
    """
    arrays = {split: np.asarray(figures, float) for split, figures in values.items() if len(figures)}
    low, high = _span(np.concatenate(list(arrays.values())), [x for x in (least, most) if x is not None])
    bins = int(np.clip(2 * max(map(len, arrays.values())) ** (1 / 3), *_BINS))
    edges = np.linspace(low, high, bins + 1)
    figure, ax = axes(3.5, 1.9)
    colours = split_colours(list(arrays))
    for split, figures in arrays.items():
        shares = np.histogram(np.clip(figures, low, high), edges)[0] / len(figures) * 100
        ax.stairs(shares, edges, color=colours[split], linewidth=1.4, label=split, zorder=3)
        ax.stairs(shares, edges, color=colours[split], alpha=0.13, fill=True, zorder=2)
    for threshold, outer in ((least, low), (most, high)):
        if threshold is not None:
            _threshold(ax, threshold, outer, low, high)
    missed = np.asarray(refused, float)
    for marker, at in (
        ("<", missed[missed < low]),
        ("|", missed[(low <= missed) & (missed <= high)]),
        (">", missed[missed > high]),
    ):
        ends, size = np.clip(np.unique(at), low, high), 11 if marker == "|" else 6
        ax.plot(ends, np.zeros(len(ends)), marker, color=REFUSED, markersize=size, clip_on=False, zorder=4)
    pad = (high - low) * 0.02
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
    ax.tick_params(axis="x", pad=6)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda figure, _: number(figure)))
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
    return save(figure, path)


def _span(accepted: Floats, thresholds: Sequence[float]) -> tuple[float, float]:
    low, high = float(accepted.min()), float(accepted.max())
    if len(accepted) > 200:  # a few outliers would press the rest together
        inner_low, inner_high = np.quantile(accepted, [0.001, 0.999])
        width = inner_high - inner_low
        low, high = max(low, float(inner_low - width / 4)), min(high, float(inner_high + width / 4))
    width = (high - low) or max(abs(high) * 0.1, 0.05)
    if high == low:
        low, high = low - width / 2, high + width / 2
    for threshold in thresholds:
        if low - 1.5 * width <= threshold <= high + 1.5 * width:
            low, high = min(low, threshold - 0.04 * width), max(high, threshold + 0.04 * width)
    return low, high


def _threshold(ax: Axes, threshold: float, outer: float, low: float, high: float) -> None:
    if low <= threshold <= high:
        ax.axvspan(min(threshold, outer), max(threshold, outer), color=REFUSED, alpha=0.07, linewidth=0, zorder=1)
        ax.axvline(threshold, color=REFUSED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=3)
        return
    left = threshold < low
    ax.text(
        0.01 if left else 0.99,
        0.99,
        f"← {number(threshold)}" if left else f"{number(threshold)} →",
        transform=ax.transAxes,
        ha="left" if left else "right",
        va="top",
        fontsize=TEXT,
        color=REFUSED,
    )


def sphere(density_EA: Floats, path: Path) -> Path:
    """The density over the sphere's fields, in multiples of an even spread; straight ahead in the middle, left on the
    left, above on top (Mollweide's projection, which keeps areas)."""
    above, around = density_EA.shape
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    ax = figure.add_subplot(projection="mollweide")
    longitude = np.linspace(-np.pi, np.pi, around + 1)
    latitude = np.arcsin(np.linspace(-1, 1, above + 1))
    density = density_EA[:, ::-1]  # azimuth is positive to the left, longitude to the right
    top = max(2.0, float(np.quantile(density, 0.995)))
    drawn = ax.pcolormesh(longitude, latitude, density, cmap="YlGnBu", vmin=0, vmax=top, rasterized=True)
    ax.set_xticks(np.deg2rad([-90, 0, 90]), ["left", "ahead", "right"])
    ax.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), ["60° down", "30°", "", "30°", "60° up"])
    ax.tick_params(axis="x", colors=INK, labelsize=TEXT)
    ax.tick_params(axis="y", colors=GREY, labelsize=TEXT - 1)
    ax.grid(color="white", linewidth=0.5, alpha=0.5)
    for label in ax.get_xticklabels():
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white", alpha=0.85)])
    ax.spines["geo"].set_color(FAINT)
    bar = figure.colorbar(drawn, ax=ax, orientation="horizontal", shrink=0.55, aspect=32, pad=0.04, extend="max")
    bar.ax.xaxis.set_major_locator(MaxNLocator(4))
    bar.ax.tick_params(length=0, labelsize=TEXT - 1, labelcolor=GREY)
    bar.set_label("times an even spread", fontsize=TEXT - 1, color=GREY)
    bar.outline.set_visible(False)
    return save(figure, path)
