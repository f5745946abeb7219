"""How plots look: quiet axes, one colour per pretext, text that can still be read on a phone."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avsa.report.names import NAMES

INK, GREY, FAINT = "#22272e", "#6b737d", "#d9dde2"
COLOURS = {"untrained": "#8a929b", "avc": "#3b6fa8", "avc-long": "#2a9d9d", "avts": "#b7791f", "avsa": "#c23b4b"}
OTHERS = ("#7a5aa6", "#4f8a3c", "#a0527d", "#8a6d1f", "#2f6b8a", "#c2673b", "#5d6b2f")
CROPS = ("#ff5d5d", "#37c2ff", "#ffd23f", "#7ee081", "#ff9ff3", "#ffa94d", "#b197fc", "#ffffff")
TEXT = 10.0  # points


def colours(pretexts: list[str]) -> dict[str, str]:
    """A colour for every name, the same on every plot."""
    others = [name for name in dict.fromkeys([*NAMES, *pretexts]) if name not in COLOURS]
    return COLOURS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}


def axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that many inches with one pair of quiet axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.add_subplot()
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        ax.spines[side].set_color(FAINT)
    ax.tick_params(length=0, labelsize=TEXT, labelcolor=GREY)
    ax.grid(axis="both", color=FAINT, linewidth=0.6, alpha=0.7)
    ax.set_axisbelow(True)
    return figure, ax


def save(figure: Figure, path: Path) -> Path:
    """Write the plot at twice the size that it is shown at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200, facecolor="white")
    return path
