"""The stages that make data: ``synth``, ``segment``, ``motion``, ``ingest``, ``stats``."""

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

    with stage_run(resolved, "synth", "synth", writes=[paths.raw(resolved.config)]):
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
    with stage_run(resolved, "segment", "segment", reads=[raw], writes=[out]) as run:
        summary = segment(raw, out, config.segment, config.clips.height, "cuda" if on_gpu else "cpu", overwrite, jobs)
        refused = len(summary.refused)
        run.log({"maps": summary.maps, "ignored": 100 * summary.ignored, "refused": refused}, step=0)
    if refused:
        print(f"{refused} of {summary.recordings} recordings have no label maps: see {out / LEDGER}", file=sys.stderr)


def run_motion(resolved: Resolved, jobs: int) -> None:
    """Render the motion set into the raw folder, as UCF-101 and HMDB-51 lie there."""
    from avsa.acquire.motion.dataset import render_motion

    raw = paths.raw(resolved.config).parent
    with stage_run(resolved, "motion", "motion", writes=[raw / "ucf101", raw / "hmdb51"]):
        render_motion(resolved.config.motion, raw, jobs)


def run_ingest(resolved: Resolved, source: Path | None, jobs: int, cluster: str | None = None) -> None:
    """Cut and check the recordings of a folder into the clip store."""
    from avsa.clips.ingest import ingest

    config = resolved.config
    raw, out = source or paths.raw(config), paths.clips(config)
    with stage_run(resolved, "ingest", "ingest", reads=[raw], writes=[out]) as run:
        summary = ingest(raw, out, config.clips, jobs, cluster)
        refused = sum(summary.refused.values())
        figures = {
            "clips": summary.clips,
            "refused": refused,
            "leaks": summary.leaks,
            "hours": summary.duration_s / 3600,
            "real_time_per_core": summary.speed,
        }
        run.log(figures, step=0)
    print(f"ingest: {summary}")


def run_verify(store: Path, jobs: int) -> str:
    """Compare every byte of a clip store with its manifest; what was compared, as a line."""
    from avsa.clips.verify import verify

    return str(verify(store, jobs))


def run_stats(resolved: Resolved, jobs: int = 1) -> None:
    """Measure the audio features of the training split."""
    from avsa.data.statistics import compute_statistics
    from avsa.stages.inputs import open_store

    config = resolved.config
    store = open_store(config, "train")
    reads, writes = [paths.clips(config)], [paths.statistics(config)]
    with stage_run(resolved, "stats", "stats", reads=reads, writes=writes):
        compute_statistics(store, config.views, config.audio, 0, paths.statistics(config), jobs=jobs)
