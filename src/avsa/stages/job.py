"""What an evaluation gets and what it gives; the same for every kind of task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from avsa.config import Config
from avsa.models.encoder import Encoder
from avsa.tracking.run import Run


@dataclass(frozen=True)
class Job:
    """One network to be measured on one task with one seed."""

    config: Config
    checkpoint: str  # name of the pre-training run, or of another encoder, as it was given
    seed: int
    encoder: Encoder  # on the device
    device: torch.device
    run: Run
    out: Path  # folder for tables and pictures, which the run keeps
    provenance: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says of itself
    finished: list[Path] = field(default_factory=list)  # folders of ended trainings: needless once results are written


@dataclass(frozen=True)
class Figure:
    """A measured value in percent with its 95 % interval."""

    setting: str
    metric: str
    value: float
    ci95: tuple[float, float]
    n: int  # decisions behind it
    dataset: str = ""  # where it is not the clip store's
