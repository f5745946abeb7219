"""The stages that make data: ``synth``, ``segment``, ``ingest``, ``stats``; and ``inspect``, which looks at it."""

from __future__ import annotations

import sys
from pathlib import Path

from avsa.errors import UserError
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.tracking.run import stage_run


def run_synth(resolved: Resolved, jobs: int) -> None:
    """Render synth360 into the raw folder."""
    from avsa.acquire.synth.dataset import render_dataset

    with stage_run(resolved, "synth", "synth"):
        render_dataset(resolved.config.synth, paths.raw(resolved.config), jobs)


def run_segment(resolved: Resolved, source: Path | None, output: Path | None, overwrite: bool, jobs: int) -> None:
    """Make label maps for the recordings of a folder, beside them or in another folder."""
    import torch

    from avsa.acquire.segment import LEDGER, segment

    config, raw = resolved.config, source or paths.raw(resolved.config)
    out = output or raw
    on_gpu = config.engine.device != "cpu" and torch.cuda.is_available()
    if config.engine.device == "cuda" and not on_gpu:
        raise UserError("engine.device is cuda but PyTorch sees no GPU: set engine.device to auto or cpu")
    with stage_run(resolved, "segment", "segment") as run:
        summary = segment(raw, out, config.segment, config.clips.height, "cuda" if on_gpu else "cpu", overwrite, jobs)
        refused = len(summary.refused)
        run.log({"maps": summary.maps, "ignored": 100 * summary.ignored, "refused": refused}, step=0)
    if refused:
        print(f"{refused} of {summary.recordings} recordings have no label maps: see {out / LEDGER}", file=sys.stderr)


def run_motion(resolved: Resolved, jobs: int) -> None:
    """Render the motion set into the raw folder, as UCF-101 and HMDB-51 lie there."""
    from avsa.acquire.motion.dataset import render_motion

    with stage_run(resolved, "motion", "motion"):
        render_motion(resolved.config.motion, paths.raw(resolved.config).parent, jobs)


def run_ingest(resolved: Resolved, source: Path | None, jobs: int) -> None:
    """Cut and check the recordings of a folder into the clip store."""
    from avsa.clips.ingest import ingest

    config = resolved.config
    with stage_run(resolved, "ingest", "ingest") as run:
        summary = ingest(source or paths.raw(config), paths.clips(config), config.clips, jobs)
        refused = sum(summary.refused.values())
        run.log({"clips": summary.clips, "refused": refused, "hours": summary.duration_s / 3600}, step=0)


def run_stats(resolved: Resolved, jobs: int = 1) -> None:
    """Measure the audio features of the training split."""
    from avsa.data.statistics import compute_statistics
    from avsa.stages.inputs import open_store

    config = resolved.config
    store = open_store(config, "train")
    with stage_run(resolved, "stats", "stats"):
        compute_statistics(store, config.views, config.audio, 0, paths.statistics(config), jobs=jobs)


def run_inspect(source: Path, output: Path, order: str) -> None:
    """A power-map video of one recording, or a contact sheet of a folder."""
    from avsa.clips.recordings import AUDIO
    from avsa.report.contact import contact_sheet
    from avsa.report.power_video import power_map_video

    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_dir():
        contact_sheet(source, output)
    else:
        beside = (path for suffix in AUDIO if (path := source.with_suffix(suffix)) != source)
        sound = next((path for path in beside if path.exists()), source)
        power_map_video(source, sound, output, order)
