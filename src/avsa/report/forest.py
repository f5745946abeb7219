"""Forest plot of a column of a table: every seed's figure with its interval, and the mean over seeds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from avsa.report.style import FAINT, GREY, INK, TEXT, axes, colours, save
from avsa.report.table import Cell, Column, Table

CHANCE = {"avc-bin": 50.0, "avsa-bin": 50.0}  # percent, by task


def forest_plot(table: Table, column: Column, path: Path) -> Path | None:
    """Draw the measured cells of `column`, a line for each row; None where there is none."""
    lines = [(row.line, row.cells[column.key]) for row in table.rows]
    lines = [(line, cell) for line, cell in lines if cell.records]
    if not lines:
        return None
    records = [record for _, cell in lines for record in cell.records]
    seeds = max(len(cell.records) for _, cell in lines)
    palette = colours([row.line.pretexts[0] for row in table.rows])
    figure, ax = axes(4.6, 0.7 + (0.24 + 0.1 * seeds) * len(lines))
    labels: list[str] = []
    for place, (line, cell) in enumerate(lines):
        _line(ax, place, cell, palette[line.pretexts[0]])
        same = place > 0 and lines[place - 1][0].name == line.name
        labels.append(line.label if same else " · ".join(part for part in (line.name, line.label) if part))
        if place and not same:
            ax.axhline(place - 0.5, color=FAINT, linewidth=0.8)
    ax.set_yticks(range(len(lines)), labels)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    chance = CHANCE.get(column.task)
    low, high = min(record.ci95[0] for record in records), max(record.ci95[1] for record in records)
    ax.set_xlim(min(low, low if chance is None else chance) - 2, min(101, high + 3))
    if chance is not None:
        ax.axvline(chance, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    what = f"accuracy, {column.name}" if column.metric == "accuracy" else column.name
    ax.set_xlabel(f"{what}, %{'' if chance is None else '   (dashed: chance)'}", fontsize=TEXT, color=GREY)
    return save(figure, path)


def _line(ax: Axes, place: int, cell: Cell, colour: str) -> None:
    count = len(cell.records)
    for i, record in enumerate(cell.records):
        y = place + (i - (count - 1) / 2) * 0.5 / max(count, 2)
        ax.plot(record.ci95, (y, y), color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.plot(record.value, y, "o", color=colour, markersize=4.5)
    if count > 1 and cell.mean is not None:
        ax.plot(cell.mean, place, "|", color=INK, markersize=17, markeredgewidth=1.6)
