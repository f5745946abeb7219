"""The sheet's sections: from what was counted and looked at to rows, pictures and sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from avsa.clips.store import ClipStore
from avsa.config import Checks
from avsa.data.labels import IGNORE, read_classes
from avsa.errors import UserError
from avsa.report.contact import label_colour
from avsa.report.page import Figure
from avsa.report.sheet.hearing import Directions, density, quarters
from avsa.report.sheet.page import ClassRow, Plot, Refusals, Sphere, SplitRow, Tile
from avsa.report.sheet.plots import distribution, sphere, split_colours
from avsa.report.sheet.raw import picture_of
from avsa.report.sheet.sample import Sample
from avsa.report.sheet.tally import Refused, Tally
from avsa.report.sheet.units import duration, number, plural, size, spread
from avsa.report.sheet.words import REFUSED, meaning, thresholds

WIDTH = 320  # pixels of a tile
_CLASSES = 24  # rows


def split_rows(tally: Tally) -> list[SplitRow]:
    """A row per split."""
    colours = split_colours(list(tally.splits))
    return [
        SplitRow(
            name,
            colours[name],
            len(split.numbers),
            len(split.recordings),
            duration(sum(split.durations)),
            split.labelled,
            size(split.bytes),
        )
        for name, split in tally.splits.items()
    ]


def clip_tiles(samples: Mapping[str, Sample], folder: Path) -> list[Tile]:
    """Middle frames of the sampled clips."""
    return [
        _tile(_image(picture), folder / f"clip-{split}-{i}.png", (clip,))
        for split, sample in samples.items()
        for i, (clip, picture) in enumerate(sample.pictures.items())
    ]


def refusals(refused: list[Refused], raw: Path | None, folder: Path) -> list[Refusals]:
    """What was refused by each check, with pictures of examples where the raw files can be reached."""
    made = []
    for group in refused:
        tiles = []
        for i, refusal in group.examples:
            at_s = refusal.start_s or 0.0
            crashes = refusal.check == "crash"
            shown = "not opened: decoding it crashes" if crashes else picture_of(raw, refusal.source, at_s, WIDTH)
            figure = () if refusal.figure is None else (f"found {number(refusal.figure)}",)
            where = refusal.source + (f", {refusal.start_s:g} s" if refusal.start_s else "")
            reason = (refusal.reason.removeprefix(Path(refusal.source).name).strip(),) if _reasons(group) > 1 else ()
            tiles.append(_tile(shown, folder / f"refused-{group.check}-{i}.png", (where, *reason, *figure)))
        share = 100 * group.count / refused[0].count
        title = REFUSED.get(group.check, group.check)
        made.append(Refusals(title, group.count, share, _refused_line(group), tiles))
    return made


def _reasons(group: Refused) -> int:
    return len({refusal.reason for _, refusal in group.examples})


def _refused_line(group: Refused) -> str:
    parts = [f"Check “{group.check}”"]
    if _reasons(group) == 1:
        parts = [group.examples[0][1].reason.capitalize()]
    if group.thresholds:
        limits = " and ".join(number(value) for value in sorted(group.thresholds))
        parts.append(f"threshold {limits}, found {spread(group.figures)}" if group.figures else f"threshold {limits}")
    if group.whole:
        parts.append("whole recordings" if group.whole == group.count else f"{group.whole:,} are whole recordings")
    if len(group.examples) < group.count:
        parts.append(f"shown are {len(group.examples)} at random")
    return "; ".join(parts) + "."


def distributions(tally: Tally, refused: list[Refused], checks: Checks, folder: Path) -> list[Plot]:
    """A plot for each figure of the checks, in the manifest's order; no picture where a figure is always the same."""
    missed = {group.check: group.figures for group in refused}
    made = []
    for name in tally.named():
        values = {split: part.figures[name] for split, part in tally.splits.items() if part.figures.get(name)}
        figure, (least, most) = meaning(name), thresholds(name, checks)
        limits = [f"at least {number(least)}"] if least is not None else []
        limits += [f"at most {number(most)}"] if most is not None else []
        ends = [end for figures in values.values() for end in (min(figures), max(figures))]
        threshold = [f"threshold: {' and '.join(limits)}"] if limits else []
        says = "; ".join([figure.says] * bool(figure.says) + [*threshold, f"found {spread(ends, figure.unit)}"])
        caption = f"{says[0].upper()}{says[1:]}."
        picture = None
        if min(ends) < max(ends):
            path = folder / f"figure-{name}.png"
            missed_by = missed.get(figure.check, ())
            picture = distribution(values, path, least=least, most=most, refused=missed_by)
        made.append(Plot(f"{figure.title}, {figure.unit}" if figure.unit else figure.title, caption, picture))
    return made


def spheres(samples: Mapping[str, Sample], folder: Path) -> list[Sphere]:
    """Maps of a split's directions, heard and told."""
    made = []
    for split, sample in samples.items():
        if not len(sample.sound.weight):
            continue
        sound = sphere(density(sample.sound), folder / f"sound-{split}.png")
        truth = None
        if sample.told:
            path = sphere(density(sample.truth), folder / f"truth-{split}.png")
            truth = Figure(
                path, f"Ground truth: the sounding objects of {plural(sample.told, 'clip')}: {_where(sample.truth)}"
            )
        heard = Figure(sound, f"Sound of {plural(sample.clips, 'clip')}: {_where(sample.sound)}")
        made.append(Sphere(split, _agreement(sample), heard, truth))
    return made


def _where(directions: Directions) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in quarters(directions).items()) + "."


def _agreement(sample: Sample) -> str:
    if sample.off is None:
        return ""
    line = (
        f"From the sound’s direction to the nearest sounding object it is {math.degrees(sample.off):.0f}° in the median"
    )
    if sample.chance is None:
        return f"{line}."
    return f"{line}; to the objects of another clip, {math.degrees(sample.chance):.0f}°."


def class_rows(store: ClipStore, samples: Mapping[str, Sample]) -> tuple[list[ClassRow], str]:
    """The classes of the label maps by their share of the sphere, and what the shares are of."""
    mapped = sum(sample.mapped for sample in samples.values())
    if not mapped:
        return [], ""
    try:
        classes = read_classes(store)
        names, things = classes.names, classes.things
    except UserError:
        names, things = (), IGNORE + 1
    shares: Counter[int] = sum((sample.shares for sample in samples.values()), Counter())
    seen: Counter[int] = sum((sample.seen for sample in samples.values()), Counter())

    def row(label: int) -> ClassRow:
        name = "not labelled" if label == IGNORE else names[label] if label < len(names) else f"class {label}"
        colour = "#{:02x}{:02x}{:02x}".format(*label_colour(label, things))
        return ClassRow(name, colour, 100 * shares[label] / mapped, 100 * seen[label] / mapped)

    common = [label for label, _ in shares.most_common()]
    facts = (
        f"Shares of the sphere’s area in {plural(mapped, 'label map')} from the middle of sampled clips, and the share "
        "of the maps that show a class at all."
    )
    if len(common) > _CLASSES:
        facts += f" The {_CLASSES} largest of {len(common)} classes are listed."
    if missing := [name for label, name in enumerate(names) if label not in shares]:
        facts += f" Not seen in the sample: {', '.join(missing[:12])}{', …' * (len(missing) > 12)}."
    return [row(label) for label in common[:_CLASSES]], facts


def _tile(shown: Image.Image | str, path: Path, lines: tuple[str, ...]) -> Tile:
    if isinstance(shown, str):
        return Tile(None, shown, lines)
    shown.save(path)
    return Tile(Figure(path, lines[0]), "", lines)


def _image(picture_CHW: Tensor) -> Image.Image:
    image = Image.fromarray(picture_CHW.permute(1, 2, 0).contiguous().numpy())
    width = min(WIDTH, image.width)
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
