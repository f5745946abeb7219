"""Sections of the networks, of pre-training and of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from avsa.config.section import Count, Positive, Probability, Section


class Translator(Section):
    """The network that predicts one modality's K features from the other's (paper, section 3.3)."""

    kind: Literal["transformer", "mlp"] = "transformer"  # mlp: each viewpoint by itself, without the others' context
    depth: Annotated[int, Field(ge=0)] = 2  # 0: one modality's features are compared with the other's directly
    expansion: Count = 4
    heads: Count = 1
    dropout: Probability = 0.1


class Model(Section):
    """Network sizes; a width of 1 is the paper's 512 features."""

    video_depth: Literal[10, 18] = 18
    width: Positive = 1.0
    translator: Translator = Translator()
    head_dim: Count = 128


class Phase(Section):
    """One phase of a curriculum: an objective for some epochs. The paper's are without what has a default here, but for
    crops and lr."""

    objective: Literal["avc", "avc-multi", "avts", "avsa", "avsa+avts", "hard-only"]
    epochs: Count
    steps: Count | None = None  # of an epoch; by default it is one pass over the data
    batch: Count = 28  # clips in a step, over all ranks and accumulated parts
    crops: Count = 4
    moments: Count = 1  # moments of one clip in a batch; the candidates of avts
    lr: Positive = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate; cosine falls to 0 over the phase
    temperature: Positive | None = None  # by default pretrain.temperature
    hard_weight: Positive = 1.0  # of a clip's other viewpoints among the negatives; the other negatives weigh 1
    translator: bool | None = None  # whether translators take part; by default as the objective has it


class Pretrain(Section):
    """Self-supervised training; ``runs`` defines what a name such as ``avsa`` stands for: phases, or the name of
    another run that has the same."""

    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    temperature: Positive = 0.07
    candidates: Literal["paper", "released"] = "paper"
    examples_per_clip: Count = 2  # drawn from one clip in an epoch
    runs: dict[str, list[Phase]] = {
        "avc": [Phase(objective="avc", epochs=50, batch=112, crops=1)],
        "avc-long": [Phase(objective="avc", epochs=50, batch=112, crops=1)],
        "avts": [Phase(objective="avts", epochs=50, batch=28, crops=1, moments=4)],
        "avsa": [Phase(objective="avsa", epochs=50)],
    }

    @field_validator("runs", mode="before")
    @classmethod
    def _the_same(cls, runs: object) -> object:
        if not isinstance(runs, dict):
            return runs
        return {name: runs.get(same, same) if isinstance(same, str) else same for name, same in runs.items()}


class Engine(Section):
    """How training runs, whatever it trains."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"  # autocast on a GPU and on CPUs that have bf16 units
    workers: Annotated[int, Field(ge=0)] = 8  # decoding processes per rank
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads per rank; 0 leaves it to PyTorch
    accumulate: Count = 1  # parts that a batch is split into
    log_every: Count = 10  # steps
    checkpoint_every_s: Positive = 120.0
    val_batches: Annotated[int, Field(ge=0)] = 4  # held-out batches scored after an epoch
