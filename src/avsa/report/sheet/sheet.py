"""A clip store on one page: what is in it, what was refused and why, what the checks measured, where it comes from.

Manifest and ledger are gone through line by line. Sound, pictures and raw files are looked at of a sample, drawn with a
fixed seed: the same store gives the same page.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from avsa.clips.ledger import LEDGER
from avsa.clips.store import MANIFEST, ClipStore
from avsa.config import Checks, Clips
from avsa.errors import UserError
from avsa.report.records import write_text
from avsa.report.sheet.hearing import BLUR
from avsa.report.sheet.origin import Origin, find_origin
from avsa.report.sheet.overlaps import find_copies, read_leaks
from avsa.report.sheet.page import SheetPage, render_sheet
from avsa.report.sheet.raw import formats
from avsa.report.sheet.sample import Sample, draw_sample, look_at
from avsa.report.sheet.sections import class_rows, clip_tiles, distributions, refusals, spheres, split_rows
from avsa.report.sheet.tally import Refused, Tally, tally_clips, tally_refused
from avsa.report.sheet.units import duration, plural, size, spread
from avsa.report.sheet.words import REFUSED

EXAMPLES = 6  # refused recordings or clips that are shown of each check
PICTURES = 12  # clips that are shown
PROBED = 60  # raw recordings whose format is looked at
COMPARED = 2000  # clips of the same lengths that are read to see whether they are the same


def data_sheet(root: Path, out: Path, config: Clips, raw: Path | None = None, sample: int = 100) -> None:
    """Write the data sheet of the clip store `root` as one HTML file.

    Args:
        config: whose thresholds are drawn where DVC does not know those of the store.
        raw: the recordings' folder, for pictures of what was refused; None or a missing one leaves these out.
        sample: clips of each split whose sound, pictures and label maps are looked at.

    Raises:
        UserError: no clip store at `root`, or a damaged one.
        OSError: `out` cannot be written.
    """
    if not any((root / name).exists() for name in (MANIFEST, LEDGER)):
        raise UserError(f"no clip store at {root}: a data sheet (.html) is of what ingest writes")
    store = ClipStore(root) if (root / MANIFEST).exists() else None  # nothing may have passed the checks
    raw = raw if raw is not None and raw.is_dir() else None
    tally, refused = tally_clips(store or ()), tally_refused(root, EXAMPLES)
    looked_at: dict[str, Sample] = {}
    if store is not None:
        shown = -(-PICTURES // max(1, len(tally.splits)))
        for name, split in tally.splits.items():
            looked_at[name] = look_at(store, draw_sample(split.numbers, sample), shown, name)
    with TemporaryDirectory() as folder:
        page = _page(root, store, tally, refused, looked_at, raw, config, Path(folder))
        write_text(out, render_sheet(page))


def _page(
    root: Path,
    store: ClipStore | None,
    tally: Tally,
    refused: list[Refused],
    samples: dict[str, Sample],
    raw: Path | None,
    config: Clips,
    folder: Path,
) -> SheetPage:
    origin = find_origin(root)
    values, checks, thresholds_from = _configuration(origin, config)
    classes, class_facts = class_rows(store, samples) if store is not None else ([], "")
    found, raw_facts = _raw(tally, raw)
    return SheetPage(
        name=root.resolve().name,
        facts=_facts(tally, refused, root),
        splits=split_rows(tally),
        tiles=clip_tiles(samples, folder),
        refused=refusals(refused, raw, folder),
        refused_facts=_refused_facts(refused, raw),
        plots=distributions(tally, refused, checks, folder),
        thresholds_from=thresholds_from,
        spheres=spheres(samples, folder),
        blur=round(math.degrees(BLUR)),
        classes=classes,
        class_facts=class_facts,
        stored=[(_stored(*kind), count) for kind, count in tally.stored.most_common()],
        raw=[(kind.picture, kind.sound, count) for kind, count in found.most_common()],
        raw_facts=raw_facts,
        lengths=_lengths(tally),
        overlaps=_overlaps(root, store, tally),
        notes=_notes(samples),
        origin=origin,
        values=list(_leaves(values)),
    )


def _facts(tally: Tally, refused: list[Refused], root: Path) -> list[tuple[str, str]]:
    recordings = sum(len(split.recordings) for split in tally.splits.values())
    labelled = sum(split.labelled for split in tally.splits.values())
    facts = [("Clips", f"{tally.clips:,} from {plural(recordings, 'recording')}"), ("Length", duration(tally.seconds))]
    facts += [("Stored as", " and ".join(_stored(*kind) for kind, _ in tally.stored.most_common(2)))] * bool(
        tally.clips
    )
    if labelled:
        facts.append(("Label maps", "of all clips" if labelled == tally.clips else f"of {plural(labelled, 'clip')}"))
    most = ", ".join(f"{REFUSED.get(group.check, group.check).lower()} {group.count:,}" for group in refused[:3])
    total = sum(group.count for group in refused)
    facts.append(("Refused", f"{total:,}: {most}{', …' * (len(refused) > 3)}" if total else "nothing"))
    shards = [path.stat().st_size for path in root.glob("shard-*.tar")]
    facts.append(("On disk", f"{size(sum(shards))} in {plural(len(shards), 'shard')}"))
    return facts


def _stored(width: int, height: int, fps: float, sample_rate: int) -> str:
    return f"{width}×{height} at {fps:g} fps, 4 channels (ACN, SN3D) at {sample_rate / 1000:g} kHz"


def _refused_facts(refused: list[Refused], raw: Path | None) -> str:
    if not refused:
        return "The ledger is empty: everything passed the checks."
    total, whole = sum(group.count for group in refused), sum(group.whole for group in refused)
    parts = [plural(whole, "recording")] * bool(whole) + [plural(total - whole, "clip")] * (total > whole)
    facts = f"{' and '.join(parts)} failed a check and {'is' if total == 1 else 'are'} not in the store."
    return facts + " The raw files are not there, so there are no pictures of them." * (raw is None)


def _lengths(tally: Tally) -> list[str]:
    if not tally.clips:
        return ["No clip passed the checks."]
    durations = [seconds for split in tally.splits.values() for seconds in split.durations]
    clips = [count for split in tally.splits.values() for count in split.recordings.values()]
    of_each = "one from each recording" if max(clips) == 1 else f"{spread(clips)} from a recording"
    lines = [f"Clips are {spread(durations)} s long, {of_each}."]
    usual, count = Counter(durations).most_common(1)[0]
    if 0.5 < count / len(durations) < 1:
        lines.append(f"{100 * count / len(durations):.3g} % of the clips are {usual:g} s long.")
    return lines


def _raw(tally: Tally, raw: Path | None) -> tuple[Counter[Any], str]:
    sources = list(dict.fromkeys(source for split in tally.splits.values() for source in split.recordings))
    if raw is None:
        return Counter(), "The raw files are not there: their sizes and rates are not known."
    chosen = [sources[i] for i in draw_sample(range(len(sources)), PROBED)]
    found = formats(raw, chosen)
    of = "all recordings" if len(chosen) == len(sources) else f"{len(chosen)} recordings, drawn at random"
    missing = len(chosen) - found.total()
    return found, f"Formats of {of}{f'; {missing} of them cannot be opened' * bool(missing)}."


def _overlaps(root: Path, store: ClipStore | None, tally: Tally) -> list[str]:
    lines = []
    leaks = read_leaks(root)
    for leak in leaks[:20]:
        lines.append(f"{leak.origin}, {leak.split} here, is {leak.other_split} in {leak.other}.")
    if len(leaks) > 20:
        lines.append(f"… and {len(leaks) - 20:,} more recordings on the other side of a test elsewhere.")
    if not leaks:
        lines.append("No recording is known to be on the other side of a test in another set.")
    shared = Counter(origin for split in tally.splits.values() for origin in split.origins)
    if several := sorted(origin for origin, splits in shared.items() if splits > 1):
        lines.append(f"In more than one split: {', '.join(several[:10])}{', …' * (len(several) > 10)}.")
    copies = find_copies(store, tally.lengths.values(), COMPARED) if store is not None else []
    for group in copies[:20]:
        lines.append("The same picture and sound: " + ", ".join(f"{clip.id} ({clip.split})" for clip in group) + ".")
    if len(copies) > 20:
        lines.append(f"… and {len(copies) - 20:,} more groups of the same content.")
    if not copies:
        lines.append("No two clips have the same picture and sound, byte for byte.")
    suspects = sum(map(len, tally.lengths.values()))
    if suspects > COMPARED:
        lines.append(f"{suspects:,} clips share their lengths with others; {COMPARED:,} of them were compared.")
    return lines


def _notes(samples: dict[str, Sample]) -> list[str]:
    looked_at = ", ".join(f"{sample.clips:,} of {name}" for name, sample in samples.items())
    notes = [
        "Counts, lengths and the checks’ figures are of all clips, as the manifest has them; refusals are the ledger’s."
    ]
    if samples:
        notes.append(
            f"Sound, pictures and label maps are of a sample of clips, drawn with a fixed seed: {looked_at}. "
            "The same store gives the same page."
        )
    damaged = [f"{clip} ({why})" for sample in samples.values() for clip, why in sample.damaged.items()]
    if damaged:
        some = f"{'; '.join(damaged[:5])}{'; …' * (len(damaged) > 5)}"
        notes.append(f"{plural(len(damaged), 'clip')} of the sample cannot be decoded and are left out: {some}")
    return notes


def _configuration(origin: Origin | None, config: Clips) -> tuple[dict[str, Any], Checks, str]:
    """The values that the store was made with as far as they are recorded, the thresholds among them, and which."""
    if origin is not None and origin.values:
        try:
            checks = Checks.model_validate(origin.values.get("checks", {}))
            return origin.values, checks, f"Thresholds are those recorded in {origin.file.name}."
        except ValidationError:
            return origin.values, config.checks, "Thresholds are those of the present configuration."
    return {}, config.checks, "Thresholds are those of the present configuration."


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
