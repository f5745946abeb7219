"""Sections of what networks are measured on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from avsa.config.section import Count, Positive, Probability, Section

Task = Annotated[str, Field(pattern=r"^(avc-bin|avsa-bin|segmentation|(ucf101|hmdb51)-[123])$")]
SegmentationInput = Literal["video", "video+audio", "video+audio+context", "end-to-end"]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Binary(Section):
    """Binary tasks on frozen features (paper, section 4.2)."""

    train: Literal["head", "all"] = "head"  # all: the whole network is fine-tuned, from the checkpoint for each setting
    epochs: Count = 10  # passes over the frozen features; over the clips where all is trained
    views_per_clip: Count = 2  # random views of each training clip that the head sees
    train_views: Count | None = None  # so many of them at random (whole batches), for a quick look; null: all
    test_views_per_clip: Count = 2  # pairs per test clip and label
    batch: Count = 32
    lr: Annotated[list[Positive], BeforeValidator(_as_list), Field(min_length=1)] = [1e-4]
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the training recordings, to choose among several lr
    milestones: list[Count] = []  # epochs at which the learning rate falls to a tenth
    translation: Literal["none", "audio", "video", "concat", "parallel"] = "concat"  # how a head sees the translators
    audio_only: bool = False  # also a head that does not see the picture: 50 %, or the pairs give the answer away
    per_crop: bool = False  # also the accuracy of each crop by itself, as accuracy_crop
    cache_gb: Annotated[float, Field(ge=0)] = 8.0  # frozen features kept in runs/features, the oldest go first; 0: none


class Segmentation(Section):
    """Semantic segmentation on frozen features (paper, section 4.3)."""

    inputs: Annotated[list[SegmentationInput], Field(min_length=1)] = ["video", "video+audio", "video+audio+context"]
    classes: str = ""  # file with the label maps' ids that are told apart, one per line; empty: all of classes.json
    fov_deg: tuple[Positive, Positive] = (45.0, 90.0)
    dim: Count = 256  # channels of the feature pyramid
    branch: Annotated[int, Field(ge=4, multiple_of=4)] = 128  # channels of its semantic branch
    epochs: Count = 10
    milestones: list[Count] = [5, 8]  # epochs at which the learning rate falls to a tenth
    batch: Count = 20  # clips in a step; each has views.crops crops
    lr: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    views_per_clip: Count = 1  # windows of each training clip in an epoch
    fresh_views: bool = True  # other crops in every epoch; false: the same, whose features are computed once and kept
    test_views_per_clip: Count = 10


class ClipsPerVideo(Section):
    """Random clips of each training video in an epoch."""

    ucf101: Count = 5
    hmdb51: Count = 10


class Action(Section):
    """Action recognition by fine-tuning (paper, section 4.4); frames, size and jitter are those of ``views``, the frame
    rate is that of ``clips``."""

    root: str = "data/raw"  # the folder that holds ucf101 and hmdb51
    epochs: Count = 100
    milestones: list[Count] = [40, 60, 80]  # epochs at which the learning rate falls; the shares of the shipped 20
    decay: Positive = 0.3
    batch: Count = 28
    lr: Positive = 1e-4
    clips_per_video: ClipsPerVideo = ClipsPerVideo()
    area: tuple[Positive, Positive] = (0.25, 1.0)  # of the picture that a random training crop shows
    mirror: Probability = 0.5
    centre: Annotated[float, Field(gt=0, le=1)] = 0.875  # share of the shorter side that a test crop shows
    test_clips: Count = 25  # evenly spaced in a test video
    cache_gb: Annotated[float, Field(ge=0)] = 4.0  # decoded videos are kept in memory where all take less than this


class Evaluate(Section):
    """What networks are measured on, a section for each kind of task."""

    batch: Count = 32  # clips in one pass of a network that is not trained
    split: Literal["test", "val"] = "test"  # of actions, val is a fifth of the training videos' sources, held out
    binary: Binary = Binary()
    segmentation: Segmentation = Segmentation()
    action: Action = Action()
