"""The verb ``inspect``: a look at a recording, a folder of recordings, or a clip store."""

from __future__ import annotations

from pathlib import Path

from avsa.clips.store import MANIFEST
from avsa.config import Config
from avsa.errors import UserError


def run_inspect(config: Config, source: Path, output: Path | None, order: str, raw: Path | None) -> Path:
    """A power-map video of one recording, a contact sheet of a folder, or the data sheet of a store; returns where.

    Args:
        raw: the recordings that a store was made of; by default where the pipeline has those of its name.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if output is None:
        suffix = ".mp4" if source.is_file() else ".html" if (source / MANIFEST).exists() else ".png"
        output = Path("reports") / f"{source.resolve().stem if source.is_file() else source.resolve().name}{suffix}"
    if source.is_file():
        _power_map(source, output, order)
    elif output.suffix == ".html":
        from avsa.report.sheet.sheet import data_sheet

        folder = source.resolve()
        data_sheet(source, output, config.clips, raw or folder.parent.parent / "raw" / folder.name)
    else:
        from avsa.report.contact import contact_sheet

        contact_sheet(source, output)
    return output


def _power_map(video: Path, output: Path, order: str) -> None:
    from avsa.clips.sources.layout import AUDIO
    from avsa.report.power_video import power_map_video

    beside = (path for suffix in AUDIO if (path := video.with_suffix(suffix)) != video)
    sound = next((path for path in beside if path.exists()), video)
    power_map_video(video, sound, output, order)
