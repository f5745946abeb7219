"""Where stages leave their outputs, relative to the project folder; dvc.yaml names the same places."""

from __future__ import annotations

from pathlib import Path

from avsa.config import Config

RESULTS = Path("reports/results.json")
METRICS = Path("reports/metrics.json")
PICTURES = Path("reports/pictures")
PAGE = Path("reports/index.html")
CURVES = Path("reports/curves")
FEATURES = Path("runs/features")


def raw(config: Config) -> Path:
    """Raw recordings of the data set."""
    return Path("data/raw") / config.dataset


def clips(config: Config) -> Path:
    """Clip store of the data set."""
    return Path("data/clips") / config.dataset


def statistics(config: Config) -> Path:
    """Normalisation statistics of the data set's training split."""
    return Path("data/statistics") / f"{config.dataset}.npz"


def checkpoint(run: str, seed: int) -> Path:
    """Folder with the network of a pre-training run, its run file and its curve."""
    return Path("checkpoints") / f"{run}-{seed}"


def network(run: str, seed: int) -> Path:
    """The network of a pre-training run."""
    return checkpoint(run, seed) / "network.pt"


def curve(run: str, seed: int) -> Path:
    """Loss and accuracies over the steps of a pre-training run."""
    return checkpoint(run, seed) / "curve.csv"


def evaluation(run: str, task: str, seed: int) -> Path:
    """Folder with the figures of one network on one task and what was drawn of them."""
    return Path("evaluations") / f"{run}-{task}-{seed}"


def results(run: str, task: str, seed: int) -> Path:
    """The figures of one network on one task."""
    return evaluation(run, task, seed) / "results.json"


def state(fingerprint: str) -> Path:
    """Folder from which an interrupted training continues; keyed by all that it depends on."""
    return Path("runs") / fingerprint
