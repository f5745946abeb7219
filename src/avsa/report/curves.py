"""Training curves: the loss, and on held-out clips the figure that tells whether space is being learned."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avsa.errors import UserError
from avsa.report.names import display_name
from avsa.report.style import GREY, TEXT, axes, colours, save

Series = tuple[tuple[int, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Curve:
    """Steps and values of one training."""

    run: str
    seed: int
    loss: Series
    within_clip: Series  # percent, on held-out clips, mean of video-to-audio and audio-to-video


def read_curve(path: Path, run: str, seed: int) -> Curve:
    """The columns of a curve file: `loss`, and what is under `val/` and called `within_clip...`.

    Raises:
        UserError: not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = [name for name in rows[0] if name] if rows else []
        losses = [name for name in columns if name in ("loss", "train/loss")]
        held_out = [name for name in columns if name.startswith("val") and "within_clip" in name]
        return Curve(run, seed, _mean(rows, losses), _mean(rows, held_out, scale=100))
    except (ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{path}: not a training curve ({error})") from None


def loss_plot(curves: list[Curve], path: Path) -> Path | None:
    """Loss over steps, one line per training; None where none was recorded."""
    return _plot(curves, {id(c): c.loss for c in curves}, "loss", path)


def within_clip_plot(curves: list[Curve], crops: int, path: Path) -> Path | None:
    """Held-out accuracy among a clip's own viewpoints over steps, with chance, 1/K; None where none was recorded."""
    series = {id(c): c.within_clip for c in curves}
    return _plot(curves, series, f"right among a clip's {crops} crops, %", path, chance=100 / crops)


def _plot(
    curves: list[Curve], series: Mapping[int, Series], label: str, path: Path, chance: float | None = None
) -> Path | None:
    drawn = [curve for curve in curves if series[id(curve)][0]]
    if not drawn:
        return None
    figure, ax = axes(4.6, 3.0)
    palette = colours([curve.run for curve in drawn])
    named: set[str] = set()
    for curve in drawn:
        steps, values = series[id(curve)]
        name = None if curve.run in named else display_name(curve.run)
        marker = "o" if len(steps) < 40 and chance is not None else None
        ax.plot(steps, values, color=palette[curve.run], linewidth=1.5, marker=marker, markersize=3, label=name)
        named.add(curve.run)
    if chance is not None:
        ax.axhline(chance, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    ax.set_xlabel("step", fontsize=TEXT, color=GREY)
    ax.set_ylabel(label, fontsize=TEXT, color=GREY)
    ax.legend(frameon=False, fontsize=TEXT, labelcolor=GREY)
    return save(figure, path)


def _mean(rows: list[dict[str, str]], columns: list[str], scale: float = 1.0) -> Series:
    steps, values = [], []
    for row in rows:
        found = [float(row[name]) for name in columns if row[name]]
        if found:
            steps.append(int(float(row["step"])))
            values.append(scale * sum(found) / len(found))
    return tuple(steps), tuple(values)
