"""The sheet as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from avsa.report.page import Figure, templates
from avsa.report.sheet.origin import Origin


@dataclass(frozen=True)
class Tile:
    """A picture, or why there is none, with what it is of."""

    figure: Figure | None
    instead: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class SplitRow:
    """A row of the table of splits; sizes in words."""

    name: str
    colour: str
    clips: int
    recordings: int
    length: str
    labelled: int
    size: str


@dataclass(frozen=True)
class Refusals:
    """What one check refused; `share` is in percent of the most frequent one's."""

    title: str
    count: int
    share: float
    line: str
    tiles: list[Tile]


@dataclass(frozen=True)
class Plot:
    """A distribution: what it is of, what must be said of it, and the picture; None where nothing is spread."""

    title: str
    caption: str
    picture: Path | None


@dataclass(frozen=True)
class Sphere:
    """A split's directions: of its sound and, where they are known, of its objects."""

    split: str
    line: str
    sound: Figure
    truth: Figure | None


@dataclass(frozen=True)
class ClassRow:
    """A class of the label maps: its share of the sphere and the share of maps that show it, in percent."""

    name: str
    colour: str
    share: float
    seen: float


@dataclass(frozen=True)
class SheetPage:
    """Content of the page, in order."""

    name: str
    facts: list[tuple[str, str]]
    splits: list[SplitRow]
    tiles: list[Tile]
    refused: list[Refusals]
    refused_facts: str
    plots: list[Plot]
    thresholds_from: str
    spheres: list[Sphere]
    blur: int  # degrees
    classes: list[ClassRow]
    class_facts: str
    stored: list[tuple[str, int]]
    raw: list[tuple[str, str, int]]
    raw_facts: str
    lengths: list[str]
    overlaps: list[str]
    notes: list[str]
    origin: Origin | None
    values: list[tuple[str, str]] = field(default_factory=list)


def render_sheet(page: SheetPage) -> str:
    """The page as self-contained HTML: no scripts, nothing loaded from elsewhere."""
    return templates().get_template("sheet.html.j2").render(page=page)
