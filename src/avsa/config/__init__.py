"""Typed configuration: every value that can be chosen, with the paper's value as its default.

Precedence: the defaults < the overlays named by ``base:`` (which may name a base of their own) < ``params.yaml`` <
``--set a.b=c``. Mappings merge, lists and scalars replace. An unknown key is an error that names its nearest neighbour.
Angles end in ``_deg``, times in ``_s``; inside the package they are radians and samples.
Where a default differs from the paper, the comment says so.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from avsa.config.data import Audio, Checks, Clips, Download, Motion, MotionSet, Segment, Store, Synth, Views
from avsa.config.evaluation import Action, Binary, ClipsPerVideo, Evaluate, Segmentation, SegmentationInput, Task
from avsa.config.section import Section
from avsa.config.training import Engine, Model, Phase, Pretrain, Translator

__all__ = [
    "Action",
    "Audio",
    "Binary",
    "Checks",
    "Clips",
    "ClipsPerVideo",
    "Config",
    "Download",
    "Engine",
    "Evaluate",
    "Model",
    "Motion",
    "MotionSet",
    "Phase",
    "Pipeline",
    "Pretrain",
    "Section",
    "Segment",
    "Segmentation",
    "SegmentationInput",
    "Store",
    "Synth",
    "Task",
    "Tracking",
    "Translator",
    "Views",
]


class Tracking(Section):
    """Where runs are recorded; an empty URI is SQLite in the project's folder."""

    uri: str = ""
    experiment: str = "avsa"
    wait_s: Annotated[float, Field(ge=0)] = 120.0  # at a run's end, for a store that is away; the rest stays on disk


class Pipeline(Section):
    """The rows of the DVC pipeline (dvc.yaml expands its matrices from these)."""

    seeds: list[int] = []
    after_avc: list[str] = []  # runs that start from the checkpoint of avc: the curriculum
    from_scratch: list[str] = []  # runs that start from the untrained network: avc, and what has no curriculum
    checkpoints: list[str] = []  # what is evaluated
    also: list[str] = []  # evaluated beside the pipeline, such as ablations and other encoders: the report has them too
    tasks: list[Task] = []


class Config(Section):
    """The whole tree. Sections that are stages carry the stage's name."""

    base: str | list[str] = ""
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "synth360"
    pipeline: Pipeline = Pipeline()
    synth: Synth = Synth()
    motion: Motion = Motion()
    download: Download = Download()
    segment: Segment = Segment()
    clips: Clips = Clips()
    store: Store = Store()
    views: Views = Views()
    audio: Audio = Audio()
    model: Model = Model()
    pretrain: Pretrain = Pretrain()
    evaluate: Evaluate = Evaluate()
    engine: Engine = Engine()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        features = int(512 * self.model.width)
        if int(64 * self.model.width) < 1:
            raise ValueError(f"model.width {self.model.width:g} leaves no channel: the smallest is {1 / 64}")
        if features % self.model.translator.heads:
            raise ValueError(f"model.translator.heads {self.model.translator.heads} do not divide {features} features")
        for name, phases in self.pretrain.runs.items():
            if any(phase.objective == "hard-only" and min(phase.crops, self.views.crops) < 2 for phase in phases):
                raise ValueError(
                    f"pretrain.runs.{name}: hard-only contrasts a clip's viewpoints: it needs crops of 2 or more"
                )
        frames_s = self.views.frames / self.clips.fps
        if max(frames_s, self.views.audio_s) > self.clips.clip_s:
            raise ValueError(
                f"views need {max(frames_s, self.views.audio_s):g} s but clips.clip_s is {self.clips.clip_s:g}"
            )
        return self
