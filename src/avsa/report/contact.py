"""A contact sheet: panoramas of a data set with the known directions of their sources, above their label maps.

Shapes: H×W pixels, C = 3 colours.
"""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from avsa.clips.label_maps import count_maps, read_map
from avsa.clips.labels import Labels, read_labels
from avsa.clips.ledger import RefusedError
from avsa.clips.truth import read_truth
from avsa.errors import UserError
from avsa.geometry.sphere import direction_to_pixel

COLUMNS = 3
WIDTH = 480  # pixels of a panorama on the sheet
MARGIN, LINE = 8, 14
PAPER, INK = (250, 250, 248), (40, 44, 52)


@dataclass(frozen=True)
class Source:
    """Where something is, in radians, and whether it sounds."""

    azimuth: float
    elevation: float
    radius: float
    name: str
    sounding: bool


@dataclass(frozen=True)
class Panel:
    """One moment of a recording."""

    name: str
    image_HWC: npt.NDArray[np.uint8]
    labels_HW: npt.NDArray[np.uint8] | None
    sources: list[Source]


def contact_sheet(folder: Path, out_png: Path, count: int = 12) -> None:
    """Draw `count` recordings of a raw folder or clips of a store, evenly spread over it, at half their time.

    Sources that sound are ringed, silent ones with a broken line; a key names the classes of the label maps.

    Raises:
        UserError: nothing to draw in `folder`, or a video that cannot be decoded.
    """
    is_store = (folder / "manifest.jsonl").exists()
    panels = list(_clips(folder, count) if is_store else _recordings(folder, count))
    classes, things = _classes(folder)
    shown = sorted({int(label) for p in panels if p.labels_HW is not None for label in np.unique(p.labels_HW)})
    cells = [_cell(panel, things) for panel in panels]
    height = max(cell.height for cell in cells)
    rows = -(-len(cells) // COLUMNS)
    key_rows = -(-len(shown) // 10)
    size = (COLUMNS * (WIDTH + MARGIN) + MARGIN, rows * (height + MARGIN) + MARGIN + key_rows * (LINE + 6))
    sheet = Image.new("RGB", size, PAPER)
    for number, cell in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        sheet.paste(cell, (MARGIN + column * (WIDTH + MARGIN), MARGIN + row * (height + MARGIN)))
    _key(sheet, shown, classes, things, rows * (height + MARGIN) + MARGIN)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out_png, format="png")


def label_colour(label: int, things: int = 256) -> tuple[int, int, int]:
    """A colour for a class id: vivid for things, quiet for stuff (ids from `things` on), grey for 255 (ignore)."""
    if label == 255:
        return (128, 128, 128)
    saturation, value = (0.8, (1.0, 0.85, 0.65)[label % 3]) if label < things else (0.35, (0.92, 0.62, 0.42)[label % 3])
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _recordings(folder: Path, count: int) -> Iterator[Panel]:
    from avsa.clips.recordings import find_recordings

    recordings = [recording for recording in find_recordings(folder) if recording.video is not None]
    for recording in _spread(recordings, count):
        try:
            truth = read_truth(recording.truth)
            labels = read_labels(recording.labels, truth)
        except RefusedError as error:
            raise UserError(f"{recording.source}: {error}") from error
        yield _panel(recording.name, recording.video, labels, truth)


def _clips(folder: Path, count: int) -> Iterator[Panel]:
    from avsa.clips.store import ClipStore

    store = ClipStore(folder)
    for clip in _spread(list(store), count):
        png = store.read(clip, "segm.png") if "segm.png" in clip.members else None
        labels = (
            None if png is None else Labels(clip.id, count_maps(png), clip.label_fps or 4.0, partial(read_map, png))
        )
        yield _panel(clip.id, io.BytesIO(store.read(clip, "mp4")), labels, store.truth(clip))


def _spread(items: list[Any], count: int) -> list[Any]:
    if not items:
        raise UserError("nothing to draw: the folder holds no video")
    return [items[i] for i in sorted({round(n) for n in np.linspace(0, len(items) - 1, count)})]


def _panel(name: str, video: Any, labels: Labels | None, truth: dict[str, Any]) -> Panel:
    import av

    try:
        with av.open(str(video) if isinstance(video, Path) else video) as container:
            stream = container.streams.video[0]
            half_s = float((stream.duration or 0) * (stream.time_base or 0)) / 2
            frame = next(f for f in container.decode(stream) if f.time is None or f.time >= half_s)
            image_HWC = frame.to_ndarray(format="rgb24")
            at_s = frame.time or 0.0
    except (av.error.FFmpegError, IndexError, StopIteration) as error:
        raise UserError(f"{name}: the video cannot be decoded ({error})") from error
    labels_HW = None
    if labels is not None:
        labels_HW = labels.read(min(round(at_s * labels.fps), labels.count - 1))
    return Panel(name, image_HWC, labels_HW, _sources(truth, at_s))


def _sources(truth: dict[str, Any], at_s: float) -> list[Source]:
    times = np.asarray(truth.get("time_s", []))
    if not times.size:
        return []
    now = int(np.abs(times - at_s).argmin())
    return [
        Source(item["azimuth"][now], item["elevation"][now], item.get("radius", 0.2), item["class"], item["sounding"])
        for item in truth["objects"]
        if item["azimuth"][now] is not None
    ]


def _cell(panel: Panel, things: int) -> Image.Image:
    frame = Image.fromarray(panel.image_HWC).resize((WIDTH, WIDTH // 2), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(frame)
    for source in panel.sources:
        u, v = (float(c) for c in direction_to_pixel(source.azimuth, source.elevation, WIDTH // 2, WIDTH))
        r = source.radius / np.pi * WIDTH / 2 + 3
        for grow, colour, width in ((1, "black", 4), (0, "white", 2)):
            box = (u - r - grow, v - r - grow, u + r + grow, v + r + grow)
            if source.sounding:
                draw.ellipse(box, outline=colour, width=width)
            else:
                for start in range(0, 360, 30):
                    draw.arc(box, start, start + 10, fill=colour, width=width)
        text = source.name if source.sounding else f"{source.name} (silent)"
        left = min(max(u - draw.textlength(text) / 2, 2), WIDTH - draw.textlength(text) - 2)
        draw.text((left, v + r + 2), text, fill="white", stroke_width=2, stroke_fill="black")
    tall = LINE + WIDTH // 2 + (0 if panel.labels_HW is None else WIDTH // 2 + 2)
    cell = Image.new("RGB", (WIDTH, tall), PAPER)
    ImageDraw.Draw(cell).text((0, 1), panel.name, fill=INK)
    cell.paste(frame, (0, LINE))
    if panel.labels_HW is not None:
        colours = np.array([label_colour(n, things) for n in range(256)], np.uint8)[panel.labels_HW]
        maps = Image.fromarray(colours).resize((WIDTH, WIDTH // 2), Image.Resampling.NEAREST)
        cell.paste(maps, (0, LINE + WIDTH // 2 + 2))
    return cell


def _classes(folder: Path) -> tuple[list[str], int]:
    """Names by class id, and how many of them are things."""
    path = folder / "classes.json"
    if not path.exists():
        return [], 256
    named = json.loads(path.read_text(encoding="utf-8"))
    return [*named["things"], *named["stuff"]], len(named["things"])


def _key(sheet: Image.Image, shown: list[int], classes: list[str], things: int, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    step = (sheet.width - 2 * MARGIN) // 10
    for number, label in enumerate(shown):
        row, column = divmod(number, 10)
        x, y = MARGIN + column * step, top + row * (LINE + 6)
        draw.rectangle((x, y, x + 12, y + 12), fill=label_colour(label, things))
        name = classes[label] if label < len(classes) else ("ignored" if label == 255 else str(label))
        draw.text((x + 18, y), name, fill=INK)
