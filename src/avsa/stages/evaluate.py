"""The stage ``evaluate``: one network, one task, all its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import torch
from tqdm import tqdm

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.loader import ClipLoader
from avsa.data.views import without_augmentation
from avsa.engine import distributed
from avsa.engine.precision import autocast
from avsa.errors import UserError
from avsa.losses import OBJECTIVES
from avsa.models.checkpoint import load_network
from avsa.models.network import AVSANetwork
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.stages.inputs import build_views
from avsa.tasks.binary import BinaryTask, Features, Setting, evaluate, extract
from avsa.tasks.pretrain import AUDIO_CHANNELS
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file


def run_evaluate(resolved: Resolved, checkpoint: str, task: str, seed: int) -> None:
    """Write ``results.json`` (records as the README describes them) for a frozen network.

    Raises:
        UserError: an unknown task, a missing checkpoint, an empty split.
    """
    config = resolved.config
    if task not in get_args(BinaryTask):
        raise UserError(f"no task {task!r}: choose one of {', '.join(get_args(BinaryTask))}")
    name: BinaryTask = "avsa-bin" if task == "avsa-bin" else "avc-bin"
    path = paths.network(checkpoint, seed)
    network = load_network(path)[0]
    if network.spec.audio_channels != AUDIO_CHANNELS[config.audio.kind]:
        raise UserError(
            f"{path}: listens to {network.spec.audio_channels} channels, but audio.kind is {config.audio.kind}"
        )
    device = distributed.setup(config.engine)
    network.to(device)
    out = paths.evaluation(checkpoint, task, seed)
    with stage_run(resolved, "evaluate", f"{checkpoint}-{task}-{seed}") as run:
        train = _features(config, network, "train", config.evaluate.views_per_clip, device, seed, name)
        test = _features(config, network, "test", config.evaluate.test_views_per_clip, device, seed + 1, name)
        records = []
        for setting in settings(config, checkpoint, network):
            accuracy = evaluate(network, name, setting, train, test, config.evaluate, seed)
            key = f"{task}/{str(setting).replace(', ', '-').replace(' ', '-')}"
            run.log({key: accuracy.value, f"{key}-low": accuracy.low, f"{key}-high": accuracy.high}, step=0)
            records.append(
                {
                    "model": f"r2plus1d-{network.spec.video_depth} ×{network.spec.video_width:g}",
                    "pretext": checkpoint,
                    "task": task,
                    "setting": str(setting),
                    "metric": "accuracy",
                    "value": round(accuracy.value, 2),
                    "ci95": [round(accuracy.low, 2), round(accuracy.high, 2)],
                    "n": accuracy.n,
                    "seed": seed,
                    "dataset": config.dataset,
                    "run_id": run.run_id,
                }
            )
            tqdm.write(f"{checkpoint} {task} {setting}: {accuracy.value:.2f} [{accuracy.low:.2f}, {accuracy.high:.2f}]")
        _write(out / "results.json", records)
        write_run_file(out / RUN_FILE, run)


def settings(config: Config, checkpoint: str, network: AVSANetwork) -> list[Setting]:
    """1 and K crops; with translators too where the run has trained them."""
    phases = config.pretrain.runs.get(checkpoint, [])
    trained = any(OBJECTIVES[phase.objective].translated for phase in phases)
    crops = sorted({1, config.views.crops})
    plain = [Setting(k, "none") for k in crops]
    translator = network.spec.translator != "none" and trained
    return plain + ([Setting(config.views.crops, config.evaluate.translation)] if translator else [])


def _features(
    config: Config, network: AVSANetwork, split: str, repeats: int, device: torch.device, seed: int, task: BinaryTask
) -> Features:
    views = build_views(config).to(device)
    loader = ClipLoader(
        ClipStore(paths.clips(config), split),
        without_augmentation(config.views),
        seed=seed,
        batch=config.evaluate.batch,
        moments=1,
        repeats=repeats,
        workers=config.engine.workers,
        drop_last=False,
    )
    batches = tqdm(loader.epoch(0), total=len(loader), desc=f"features of {split}", unit="batch", disable=None)
    with autocast(device, config.engine.precision):
        return extract(network, batches, views, device, seed, turned=task == "avsa-bin")


def _write(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
