"""Forest plot of one binary task: every seed's accuracy with its interval, and the mean over seeds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from avsa.report.style import FAINT, GREY, INK, TEXT, axes, colours, save
from avsa.report.tables import Cell, Row, Table

CHANCE = 50.0


def forest_plot(table: Table, task: str, path: Path) -> Path | None:
    """Draw the measured cells of `task`, one line per pretext and setting; None where nothing was measured."""
    lines = [(row, crops, cell) for row in table.rows for (name, crops), cell in row.cells.items() if name == task]
    lines = [line for line in lines if line[2].records]
    if not lines:
        return None
    seeds = max(len(cell.records) for _, _, cell in lines)
    palette = colours([row.pretext for row in table.rows])
    figure, ax = axes(4.6, 0.7 + (0.24 + 0.1 * seeds) * len(lines))
    ax.axvline(CHANCE, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    for place, (row, _, cell) in enumerate(lines):
        _line(ax, place, cell, palette[row.pretext])
        if place and lines[place - 1][0].pretext != row.pretext:
            ax.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    ax.set_yticks(range(len(lines)), [_label(row, crops) for row, crops, _ in lines])
    ax.tick_params(axis="y", labelcolor=INK)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    low = min(CHANCE, *(record.ci95[0] for _, _, cell in lines for record in cell.records))
    ax.set_xlim(low - 2, min(101, max(r.ci95[1] for _, _, cell in lines for r in cell.records) + 3))
    ax.set_xlabel("accuracy, %   (dashed: chance)", fontsize=TEXT, color=GREY)
    return save(figure, path)


def _line(ax: Axes, place: int, cell: Cell, colour: str) -> None:
    count = len(cell.records)
    for i, record in enumerate(cell.records):
        y = place + (i - (count - 1) / 2) * 0.5 / max(count, 2)
        ax.plot(record.ci95, (y, y), color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.plot(record.value, y, "o", color=colour, markersize=4.5)
    if count > 1 and cell.mean is not None:
        ax.plot(cell.mean, place, "|", color=INK, markersize=17, markeredgewidth=1.6)


def _label(row: Row, crops: int) -> str:
    return f"{row.name} · {crops} crop{'s' * (crops > 1)}{' · tr.' if row.translator else ''}"
