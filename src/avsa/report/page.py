"""The page that holds everything: one HTML file with its pictures inside, to be mailed or opened anywhere."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from avsa.report.evaluated import ClassTable
from avsa.report.names import TASKS, display_name
from avsa.report.records import Record
from avsa.report.table import Table

MAX_WIDTH = 1050  # pixels: twice what most are shown at


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows in words."""

    picture: Path
    caption: str
    colour: str = ""


@dataclass(frozen=True)
class Section:
    """A table of the paper with what belongs to it."""

    table: Table
    forest: list[Figure] = field(default_factory=list)
    classes: ClassTable | None = None
    drawn: list[tuple[str, list[Figure]]] = field(default_factory=list)  # by evaluation


@dataclass(frozen=True)
class SceneSheet:
    """A clip: its panorama with crop borders, the sound's level, and a card per crop."""

    id: str
    panorama: Path
    level: Path
    cards: list[Figure]


@dataclass(frozen=True)
class Training:
    """What a pre-training run was."""

    name: str
    phases: str
    crops_seen: int  # with those of the run it starts from


@dataclass(frozen=True)
class Tracked:
    """A stage's run in the tracking store."""

    stage: str
    name: str
    run_id: str


@dataclass(frozen=True)
class Page:
    """Content of the page, in order."""

    facts: list[tuple[str, str]]
    sections: dict[str, Section]  # by table
    notes: list[str]
    others: list[Record] = field(default_factory=list)  # that no table has a cell for
    trainings: list[Training] = field(default_factory=list)
    curves: list[Figure] = field(default_factory=list)
    audio: str = ""  # how long a sound is shown, in words
    sheets: list[SceneSheet] = field(default_factory=list)
    maps: list[Figure] = field(default_factory=list)
    runs: list[Tracked] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as self-contained HTML: no scripts, nothing loaded from elsewhere."""
    return templates().get_template("page.html.j2").render(page=page, tasks=TASKS)


def templates() -> Environment:
    """The templates beside this file, with what they use to show pictures and names."""
    environment = Environment(
        loader=PackageLoader("avsa.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embed": embed, "display": display_name}
    return environment


def embed(picture: Path) -> str:
    """A picture as a data URI: WebP, at most `MAX_WIDTH` wide. The files themselves stay as they are."""
    packed = BytesIO()
    with Image.open(picture) as image:
        width = min(MAX_WIDTH, image.width)
        small = image.convert("RGB").resize(
            (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS
        )
    small.save(packed, format="webp", quality=80)
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
