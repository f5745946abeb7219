"""Every overlay in configs/ does what its name says: the real stages take a step with its values, on little data."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from avsa.config import Phase
from avsa.errors import UserError
from avsa.models.checkpoint import load_network, save_network
from avsa.models.network import build_network
from avsa.resolve import Resolved, resolve
from avsa.stages import paths
from avsa.stages.data import run_ingest, run_motion, run_stats, run_synth
from avsa.stages.evaluate import run_evaluate
from avsa.stages.init import run_init
from avsa.stages.inputs import build_views
from avsa.stages.pretrain import run_pretrain
from avsa.tasks.pretrain import network_spec

ROOT = Path(__file__).parents[1]

# As little of everything as the networks take; what an overlay chooses of this is not what it is about.
SMALL: dict[str, Any] = {
    "synth": {
        "train": 4,
        "val": 0,
        "test": 2,
        "places": 2,
        "height": 48,
        "duration_s": 1,
        "fps": 8,
        "sample_rate": 8000,
    },
    "clips": {"clip_s": 1.0, "height": 48, "fps": 8, "sample_rate": 8000},
    "views": {"size": 32, "frames": 4, "audio_s": 0.5},
    "audio": {"mels": 16, "window": 256, "hop": 160},
    "model": {"video_depth": 10, "width": 0.0625, "head_dim": 16},
    "pretrain": {"examples_per_clip": 1},
    "motion": {
        **{"height": 32, "duration_s": [0.6, 0.8], "places": 2},
        **{name: {"train": 1, "test": 1, "clips": 1} for name in ("ucf101", "hmdb51")},
    },
    "engine": {"device": "cpu", "precision": "fp32", "workers": 0, "threads": 1, "val_batches": 0},
}

# Overlay -> its run, and what is special about it: phases (objective, crops, moments), channels heard, translators.
AVC, AVSA = ("avc", 1, 1), ("avsa", 4, 1)
PRETRAINING: dict[str, tuple[str, list[tuple[str, int, int]], int, tuple[str, int]]] = {
    "paper": ("avsa", [AVSA], 4, ("transformer", 2)),
    "released": ("avts", [("avts", 1, 4)], 4, ("transformer", 2)),
    "demo": ("avsa", [AVSA], 7, ("transformer", 2)),
    "published/InstDisc": ("avc", [AVC], 4, ("transformer", 2)),
    "published/Cur-Loc4-TransfD2": ("avsa", [AVSA], 4, ("transformer", 2)),
    "published/NoCur-Loc4-TransfD2": ("avsa-nocur", [AVSA], 4, ("transformer", 2)),
    "ablations/avsa-mono": ("avsa-mono", [AVSA], 1, ("transformer", 2)),
    "ablations/avsa-stereo": ("avsa-stereo", [AVSA], 2, ("transformer", 2)),
    "ablations/avsa-foa": ("avsa-foa", [AVSA], 4, ("transformer", 2)),
    "ablations/avsa-intensity": ("avsa-intensity", [AVSA], 7, ("transformer", 2)),
    "ablations/avsa-mlp": ("avsa-mlp", [AVSA], 4, ("mlp", 2)),
    "ablations/avsa-depth-0": ("avsa-depth-0", [AVSA], 4, ("transformer", 0)),
    "ablations/avsa-depth-1": ("avsa-depth-1", [AVSA], 4, ("transformer", 1)),
    "ablations/avsa-depth-4": ("avsa-depth-4", [AVSA], 4, ("transformer", 4)),
    "ablations/avsa-views-1": ("avsa-views-1", [("avsa", 1, 1)], 4, ("transformer", 2)),
    "ablations/avsa-views-2": ("avsa-views-2", [("avsa", 2, 1)], 4, ("transformer", 2)),
    "ablations/avsa-views-8": ("avsa-views-8", [("avsa", 8, 1)], 4, ("transformer", 2)),
    "ablations/avsa-temporal": ("avsa-temporal", [("avsa+avts", 4, 2)], 4, ("transformer", 2)),
    "ablations/avsa-hard": ("avsa-hard", [("hard-only", 4, 1)], 4, ("transformer", 2)),
    "ablations/avsa-nocur": ("avsa-nocur", [AVSA], 4, ("transformer", 2)),
    "ablations/easy-only": ("avc-long", [("avc-multi", 4, 1)], 4, ("transformer", 2)),
    "ablations/demo": ("avsa-temporal", [("avsa+avts", 4, 2)], 7, ("transformer", 2)),
}

# Overlay -> task, its section and the values that were published for it, the settings that it measures.
AVC_BIN = {"epochs": 10, "batch": 32, "lr": [1e-5], "milestones": [5, 8]}
AVSA_BIN = {"epochs": 10, "batch": 32, "lr": [1e-4], "milestones": [8]}
ACTION = {"epochs": 20, "milestones": [8, 12, 16], "decay": 0.3, "batch": 28, "lr": 1e-4, "test_clips": 25}
SEGMENTATION = {
    **{"epochs": 10, "milestones": [5, 8], "batch": 20, "lr": 1e-4, "weight_decay": 5e-4},
    **{"fov_deg": (54.0, 108.0), "dim": 256, "branch": 128},
}
SHORT = {
    "binary": {"epochs": 1, "views_per_clip": 1, "test_views_per_clip": 1, "batch": 4, "milestones": []},
    "segmentation": {"epochs": 1, "batch": 4, "dim": 8, "branch": 4, "milestones": [], "test_views_per_clip": 1},
    "action": {
        "epochs": 1,
        "batch": 4,
        "milestones": [],
        "test_clips": 2,
        "clips_per_video": {"ucf101": 1, "hmdb51": 1},
    },
}
EVALUATION: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    **{
        f"published/{name}-Bin-{crops}crop{'s' * (crops > 1)}{'-transformer' * transformer}": (
            *(f"{name.lower()}-bin", "binary", values),
            {"1 crop"} | ({"4 crops"} if crops == 4 else set())
            | ({f"{crops} crop{'s' * (crops > 1)}, translator (audio)"} if transformer else set()),
        )
        for name, values in (("AVC", AVC_BIN), ("AVSA", AVSA_BIN))
        for crops in (1, 4)
        for transformer in (False, True)
    },
    **{
        f"published/segmentation-{name}": ("segmentation", "segmentation", SEGMENTATION, {name})
        for name in ("video", "video+audio", "video+audio+context")
    },
}  # fmt: skip
FOLDS = [
    (name, f"{key}-{fold}", clips)
    for name, key, clips in (("UCF101", "ucf101", 5), ("HMDB51", "hmdb51", 10))
    for fold in (1, 2, 3)
]
# Bases; what CI runs whole; what has a test of its own (test_yt360_command.py).
SHARED = {"published/AVC-Bin", "published/AVSA-Bin", "published/segmentation", "smoke", "yt360"}
TRANSLATED = {"avc-multi", "avts", "avsa", "avsa+avts", "hard-only"}


def overlay(name: str) -> str:
    return f"configs/{name}.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with clips, in which nothing else has run."""
    folder = tmp_path_factory.mktemp("configurations")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "params.yaml").write_text(yaml.safe_dump(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_synth(resolve(), jobs=1)
        run_ingest(resolve(), None, jobs=1)
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, and the current folder."""
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def small(name: str, *overrides: str) -> Resolved:
    """An overlay under SMALL, its phases one step long."""
    phases = resolve(base=overlay(name)).config.pretrain.runs
    short = {
        run: [{**phase.model_dump(), "epochs": 1, "steps": None, "batch": 4} for phase in phases_]
        for run, phases_ in phases.items()
    }
    runs = yaml.safe_dump(short, default_flow_style=True, width=10**6)
    return resolve(base=overlay(name), overrides=[f"pretrain.runs={runs}", *overrides])


def measure_statistics(resolved: Resolved) -> None:
    """Statistics of the features, those that the folder has where they fit."""
    try:
        build_views(resolved.config)
    except UserError:
        run_stats(resolved)


@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining_takes_a_step(name: str, here: Path) -> None:
    run, expected, channels, translator = PRETRAINING[name]
    resolved = small(name)
    measure_statistics(resolved)
    run_init(resolved, seed=0)
    run_pretrain(resolved, run, "untrained", seed=0)

    chosen = resolve(base=overlay(name)).config.pretrain.runs[run]
    assert [(phase.objective, phase.crops, phase.moments) for phase in chosen] == expected
    (before, _), (after, provenance) = (load_network(paths.network(made, 0)) for made in ("untrained", run))
    assert provenance["translated"] == bool(TRANSLATED & {objective for objective, _, _ in expected})
    assert after.spec.audio_channels == channels
    assert (after.spec.translator, after.spec.translator_depth) == translator
    with paths.curve(run, 0).open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert len(losses) == len(expected)
    assert all(0 < loss < 20 for loss in losses)
    start = dict(before.named_parameters())
    moved = {key for key, parameter in after.named_parameters() if not torch.equal(parameter, start[key])}
    used = {key for key in start if key.split(".")[0] in {"video_model", "audio_model", "video_head", "audio_head"}}
    if TRANSLATED & {objective for objective, _, _ in expected}:
        used = set(start)
    # A softmax over one viewpoint does not depend on its scores.
    idle = (".query.", ".key.") if all(crops == 1 for _, crops, _ in expected) else (".key.bias",)
    assert not {key for key in used - moved if not any(part in key for part in idle)}
    assert moved <= used
    shutil.rmtree(paths.checkpoint(run, 0))
    shutil.rmtree(paths.checkpoint("untrained", 0))


@pytest.fixture(scope="module")
def theirs(project: Path) -> str:
    """The name of a network whose training the configuration does not know, such as a converted one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        config = resolve(base=overlay("released")).config
        save_network(paths.network("theirs", 0), build_network(network_spec(config.model, config.audio), seed=0), {})
        run_motion(resolve(), jobs=1)
    return "theirs"


def records(checkpoint: str, task: str) -> list[dict[str, Any]]:
    """What the last evaluation left."""
    found: list[dict[str, Any]] = json.loads(paths.results(checkpoint, task, 0).read_text())
    return found


def evaluate_small(name: str, checkpoint: str, task: str) -> Resolved:
    """An evaluation with its overlay, a step or two long; what the overlay itself chooses."""
    short = yaml.safe_dump(SHORT, default_flow_style=True, width=10**6)
    resolved = small(name, f"evaluate={short}")
    measure_statistics(resolved)
    run_evaluate(resolved, checkpoint, task, seed=0)
    return resolve(base=overlay(name))


@pytest.mark.parametrize("name", EVALUATION)
def test_published_evaluations_measure_what_their_name_says(name: str, here: Path, theirs: str) -> None:
    task, section, values, settings = EVALUATION[name]
    chosen = evaluate_small(name, theirs, task)
    section_values = getattr(chosen.config.evaluate, section).model_dump()
    assert {key: section_values[key] for key in values} == values
    assert (chosen.config.views.rule, chosen.config.audio.scale) == ("released", "released")
    found = records(theirs, task)
    assert {record["setting"] for record in found} == settings
    assert all(0 <= record["value"] <= 100 for record in found)


@pytest.mark.parametrize(("name", "task", "clips"), FOLDS)
def test_published_actions_run_on_every_fold(name: str, task: str, clips: int, here: Path, theirs: str) -> None:
    chosen = evaluate_small(f"published/{name}", theirs, task).config.evaluate.action.model_dump()
    assert {key: chosen[key] for key in ACTION} == ACTION
    assert chosen["clips_per_video"][task.split("-")[0]] == clips
    metrics = {record["metric"] for record in records(theirs, task)}
    assert metrics == {"clip_top1", "clip_top5", "video_top1", "video_top5"}


def test_every_overlay_is_run() -> None:
    """Spaces to search, which have tests of their own, and what was found in them are something else."""
    there = {
        path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in (ROOT / "configs").rglob("*.yaml")
    }
    there = {name for name in there if not name.startswith(("sweep/", "found/"))}
    assert there == {*PRETRAINING, *EVALUATION, *(f"published/{name}" for name, _, _ in FOLDS), *SHARED}


def test_published_schedules() -> None:
    """Epochs, batch and learning rate of the three, which no step shows."""
    runs = {
        name: resolve(base=str(ROOT / "configs" / "published" / f"{name}.yaml")).config.pretrain.runs
        for name in ("InstDisc", "Cur-Loc4-TransfD2", "NoCur-Loc4-TransfD2")
    }
    avc: dict[str, Any] = {"objective": "avc", "batch": 112, "crops": 1}
    avsa: dict[str, Any] = {"objective": "avsa", "batch": 28, "crops": 4}
    assert runs["InstDisc"]["avc"] == [Phase(epochs=100, lr=1e-4, **avc)]
    assert runs["Cur-Loc4-TransfD2"]["avc"] == [Phase(epochs=50, lr=1e-4, **avc)]
    assert runs["Cur-Loc4-TransfD2"]["avsa"] == [Phase(epochs=50, lr=1e-4, **avsa)]
    assert runs["NoCur-Loc4-TransfD2"]["avsa-nocur"] == [Phase(epochs=100, lr=1e-4, **avsa)]
