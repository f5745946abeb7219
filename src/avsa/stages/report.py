"""The stage ``report``: everything that was measured, on one page."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import product
from pathlib import Path

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.errors import UserError
from avsa.report.curves import loss_plot, read_curve, within_clip_plot
from avsa.report.evaluated import CLASSES, PICTURES, class_table
from avsa.report.forest import forest_plot
from avsa.report.gallery import power_maps, sheets
from avsa.report.names import TASKS, display_name
from avsa.report.notes import notes
from avsa.report.page import Figure, Page, Section, Tracked, Training, render
from avsa.report.records import Record, nested_means, read_records, write_json, write_records, write_text
from avsa.report.table import Table
from avsa.report.tables import paper_tables
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.stages.inputs import open_store
from avsa.tracking.environment import code_version
from avsa.tracking.run import RUN_FILE, read_run_file, stage_run


def run_report(resolved: Resolved) -> None:
    """Gather the evaluations that the configuration names, draw the pictures, write the page.

    Raises:
        UserError: a damaged input, no clip store, an output that cannot be written.
    """
    config = resolved.config
    made = [paths.PAGE, paths.PICTURES, paths.RESULTS, paths.METRICS, paths.CURVES]
    with stage_run(resolved, "report", "report", reads=[paths.clips(config)], writes=made) as run:
        try:
            _report(config)
        except OSError as error:
            raise UserError(f"cannot write the report to {paths.PAGE.parent}: {error.strerror or error}") from error
        run.artifact(paths.PAGE)


def _report(config: Config) -> None:
    records = read_records(paths.results(*one) for one in _evaluations(config))
    write_records(paths.RESULTS, records)
    write_json(paths.METRICS, nested_means(records))
    paths.PICTURES.mkdir(parents=True, exist_ok=True)
    for old in paths.PICTURES.glob("*.png"):
        old.unlink()
    _copy_curves(config)
    store = open_store(config)
    tables = paper_tables(records, config.pipeline.checkpoints, config.audio.kind)
    shown = {record for table in tables for record in table.records}
    page = Page(
        facts=_facts(config, store, records),
        sections={table.name: _section(table, config) for table in tables},
        notes=notes(config, records),
        others=[record for record in records if record not in shown],
        trainings=_trainings(config, store),
        curves=_curves(config),
        audio=f"{config.views.audio_s:g} s",
        sheets=sheets(store, config, paths.PICTURES),
        maps=power_maps(store, config, paths.PICTURES),
        runs=_runs(config),
    )
    write_text(paths.PAGE, render(page))


def _facts(config: Config, store: ClipStore, records: list[Record]) -> list[tuple[str, str]]:
    clip, views = store[0], config.views
    splits = Counter(clip.split for clip in store)
    clips = ", ".join(f"{splits[split]:,} {split}" for split in sorted(splits, key=("train", "val", "test").index))
    tags = code_version()
    commit = f"commit {tags['git.commit'][:12]}" if "git.commit" in tags else "not in a repository"
    changed = " with uncommitted changes" if tags.get("git.dirty") == "True" else ""
    return [
        ("Data", f"{config.dataset}: {clips} clips of {clip.duration_s:g} s"),
        ("Clips", f"{clip.width}×{clip.height} at {clip.fps:g} frames/s, sound at {clip.sample_rate / 1000:g} kHz"),
        ("Views", f"{views.crops} crops of {views.size}×{views.size}, {views.frames} frames; {views.audio_s:g} s of "
                  f"sound as {config.audio.kind}, {config.audio.mels} mel bands"),
        ("Network", " · ".join(sorted({record.model for record in records})) or "none measured"),
        ("Seeds", ", ".join(str(seed) for seed in config.pipeline.seeds) or "none"),
        ("Code", commit + changed),
    ]  # fmt: skip


def _evaluations(config: Config) -> list[tuple[str, str, int]]:
    """Checkpoint, task and seed of what the pipeline evaluates and of what was evaluated beside it."""
    chosen = config.pipeline
    beside = product(chosen.also, TASKS, chosen.seeds)
    return list(dict.fromkeys([*product(chosen.checkpoints, chosen.tasks, chosen.seeds), *beside]))


def _section(table: Table, config: Config) -> Section:
    tasks = [column.task for column in table.columns] if table.name in ("segmentation", "action") else []
    chosen = [one for one in _evaluations(config) if one[1] in tasks]
    folders: dict[str, list[Path]] = {}
    for one in chosen:
        folders.setdefault(one[0], []).append(paths.evaluation(*one))
    classes = None
    if table.name == "segmentation":
        files = {name: [folder / CLASSES for folder in found] for name, found in folders.items()}
        classes = class_table(files, share="pixels", what="video")
    drawn = [
        (f"{display_name(name)} on {TASKS[task]}, seed {seed}", _drawn(paths.evaluation(name, task, seed)))
        for name, task, seed in chosen
        if seed == config.pipeline.seeds[0]
    ]
    return Section(table, _forest(table), classes, [one for one in drawn if one[1]])


def _drawn(evaluation: Path) -> list[Figure]:
    return [Figure(evaluation / name, caption) for name, caption in PICTURES.items() if (evaluation / name).exists()]


def _forest(table: Table) -> list[Figure]:
    caption = "one point per seed with its 95 % interval" + ("; bar: mean over seeds" if table.several_seeds else "")
    return [
        Figure(path, f"{' · '.join(part for part in (column.group, column.name) if part)}: {caption}.")
        for column in table.columns
        if column.plot and (path := forest_plot(table, column, paths.PICTURES / f"{column.plot}.png"))
    ]


def _copy_curves(config: Config) -> None:
    """One file per run in one folder: what ``dvc plots`` draws and compares over commits."""
    shutil.rmtree(paths.CURVES, ignore_errors=True)
    paths.CURVES.mkdir(parents=True)
    for name, seed in product(config.pipeline.checkpoints, config.pipeline.seeds):
        if (curve := paths.curve(name, seed)).exists():
            shutil.copyfile(curve, paths.CURVES / f"{name}-{seed}.csv")


def _curves(config: Config) -> list[Figure]:
    found = [
        read_curve(path, name, seed)
        for name, seed in product(config.pipeline.checkpoints, config.pipeline.seeds)
        if (path := paths.curve(name, seed)).exists()
    ]
    loss = loss_plot(found, paths.PICTURES / "loss.png")
    within = within_clip_plot(found, config.views.crops, paths.PICTURES / "within-clip.png")
    captions = {
        loss: "Training loss; steps count from the start of each run. Objectives choose among different candidates, so "
        "their losses do not compare.",
        within: "Held-out clips: how often a crop’s sound is found among the sounds of the clip’s own crops, and the "
        "other way round. Above chance means that space is being learned.",
    }
    return [Figure(path, caption) for path, caption in captions.items() if path]


def _trainings(config: Config, store: ClipStore) -> list[Training]:
    clips = sum(clip.split == "train" for clip in store)
    seen = {}
    for name in config.pipeline.checkpoints:
        phases = config.pretrain.runs.get(name, [])
        seen[name] = sum(
            clips
            // phase.batch
            * phase.batch
            * config.pretrain.examples_per_clip
            * phase.moments
            * phase.crops
            * phase.epochs
            for phase in phases
        )
    return [
        Training(
            display_name(name),
            ("after AVC: " if name in config.pipeline.after_avc else "")
            + ", then ".join(
                f"{phase.epochs} epochs of {phase.objective}, {phase.batch} clips × "
                + (f"{phase.moments} moments × " if phase.moments > 1 else "")
                + f"{phase.crops} crop{'s' * (phase.crops > 1)} a step"
                for phase in config.pretrain.runs[name]
            ),
            seen[name] + (seen.get("avc", 0) if name in config.pipeline.after_avc else 0),
        )
        for name in config.pipeline.checkpoints
        if seen[name]
    ]


def _runs(config: Config) -> list[Tracked]:
    places: list[tuple[str, Path]] = [
        ("pretrain" if name in config.pretrain.runs else "init", paths.checkpoint(name, seed))
        for name, seed in product(config.pipeline.checkpoints, config.pipeline.seeds)
    ]
    places += [("evaluate", paths.evaluation(*one)) for one in _evaluations(config)]
    found = [(stage, folder.name, read_run_file(folder / RUN_FILE)) for stage, folder in places]
    return [Tracked(stage, name, run["run_id"]) for stage, name, run in found if run]
