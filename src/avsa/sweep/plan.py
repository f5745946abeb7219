"""What a sweep file says: which runs are trained, at what budget, what counts, and where to look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from avsa.config.section import Count, Section
from avsa.errors import UserError
from avsa.resolve import read_mapping

WITHIN_CLIP = "within-clip"
"""How often a held-out crop's own sound is the best match among its clip's K, in percent: measured while training."""
Metric = Annotated[
    str, Field(pattern=r"^(within-clip|(avc-bin|avsa-bin|segmentation|(ucf101|hmdb51)-[123])/[^/]+/\w+)$")
]


class Budget(Section):
    """What every trial may see: clips (a clip in a step, at each of its moments), or crops of them."""

    clips: Count | None = None
    crops: Count | None = None

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.clips is None) == (self.crops is None):
            raise ValueError("give clips or crops")
        return self

    @property
    def total(self) -> int:
        """The number."""
        return self.clips or self.crops or 0


class Pruning(Section):
    """Hyperband: of the trials that reach ``first`` (a share of the budget), then ``factor`` times that, and so on, one
    in ``factor`` goes on; a part of the trials is not pruned at all."""

    first: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    factor: Annotated[int, Field(ge=2)] = 3


class Finalists(Section):
    """The ``count`` best trials, the best of random search and the paper's configuration are trained with each seed."""

    count: Annotated[int, Field(ge=0)] = 2
    seeds: list[int] = [1, 2, 3]


class Plan(Section):
    """The content of a sweep file.

    ``runs`` are trained one after the other, the first from the untrained network, as the pipeline does it. ``space``
    is an overlay of the configuration in which ranges may stand for values (:mod:`avsa.sweep.space`). Metrics are
    maximised: ``within-clip``, or ``task/setting/metric`` as ``avsa evaluate`` prints them, on the validation split.
    """

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    runs: Annotated[list[str], Field(min_length=1)] = ["avc", "avsa"]
    budget: Budget
    validations: Count = 9  # of a trial that sees the whole budget
    metrics: Annotated[list[Metric], Field(min_length=1)]
    trials: Count = 32
    random: bool = True  # random search beside it, with the same budget altogether
    pruning: Pruning | None = Pruning()
    finalists: Finalists = Finalists()
    seed: int = 0  # of all trials but the finalists
    retries: Annotated[int, Field(ge=0)] = 2  # of a trial whose process was lost
    space: dict[str, Any]

    @model_validator(mode="after")
    def _fits_together(self) -> Plan:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics: the same one twice")
        if len(self.metrics) > 1 and self.pruning is not None:
            raise ValueError("trials with several metrics cannot be pruned: set pruning to null")
        if len(self.metrics) > 1 and self.finalists.count:
            raise ValueError("several metrics have no single winner: set finalists.count to 0, and choose by --trial")
        if len(set(self.finalists.seeds)) < len(self.finalists.seeds):
            raise ValueError("finalists.seeds: the same one twice")
        if self.seed in self.finalists.seeds:
            raise ValueError(f"finalists.seeds: {self.seed} is the seed of the search, finalists need unseen ones")
        return self


def read_plan(path: Path) -> Plan:
    """The plan in a sweep file.

    Raises:
        UserError: no such file, an unknown key, a value out of its range.
    """
    return make_plan(read_mapping(path), str(path))


def make_plan(content: dict[str, Any], where: str) -> Plan:
    """The plan of a file's content; ``where`` names it in messages."""
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key; known here: {', '.join(Plan.model_fields)}"
        elif first["type"] == "string_pattern_mismatch" and path.startswith("metrics"):
            message = f"no metric {first['input']!r}: give within-clip or task/setting/metric"
        elif first["type"] == "string_pattern_mismatch":
            message = f"a name of letters, digits, - and _, got {first['input']!r}"
        raise UserError(": ".join(filter(None, (where, path, message[:1].lower() + message[1:])))) from None
