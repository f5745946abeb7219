"""Typed configuration: every value that can be chosen, with the paper's value as its default.

Precedence: the defaults here < the overlays named by ``base:`` (which may name a base of their own) < ``params.yaml`` <
``--set a.b=c``. Mappings merge, lists and scalars replace. An unknown key is an error that names its nearest neighbour.
Angles end in ``_deg``, times in ``_s``; inside the package they are radians and samples.
Where a default differs from the paper, the comment says so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Task = Annotated[str, Field(pattern=r"^(avc-bin|avsa-bin|segmentation|(ucf101|hmdb51)-[123])$")]


class Section(BaseModel):
    """A frozen group of values that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Synth(Section):
    """The synthetic data set: how many scenes of what kind are rendered (:mod:`avsa.acquire.synth`)."""

    seed: int = 0
    train: Annotated[int, Field(ge=0)] = 1600
    val: Annotated[int, Field(ge=0)] = 100
    test: Annotated[int, Field(ge=0)] = 500
    duration_s: Positive = 3.0
    height: Annotated[int, Field(ge=32, multiple_of=2)] = 128  # pixels; the panorama is twice as wide
    fps: Positive = 16.0
    sample_rate: Count = 24000
    label_fps: Positive = 4.0
    places: Count = 12  # shared by all splits: a place has a look (stuff) and an ambience
    objects: tuple[Count, Count] = (1, 4)  # sounding objects in a scene, inclusive
    distractors: tuple[int, int] = (0, 2)  # silent objects in a scene, inclusive
    radius_deg: tuple[Positive, Positive] = (12.0, 20.0)  # angular radius of an object
    ambience_db: float = -2.0  # level of the place's sound against the objects' sum
    ambience_spread_db: float = 2.0
    ambience_share: Probability = 1.0  # share of scenes in which the place sounds at all
    noise_db: float = -30.0  # diffuse background noise against the objects' sum
    reverb_db: float = -12.0  # reverberant energy against the direct sound

    @model_validator(mode="after")
    def _ranges(self) -> Synth:
        for name in ("objects", "distractors", "radius_deg"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 45:
                raise ValueError(f"{name} must be a range from low to high, within 0 … 45: it is {low:g} … {high:g}")
        return self


class Segment(Section):
    """Label maps where none exist (:mod:`avsa.acquire.segment`); they are as high as the clip store's pictures."""

    model: str = "deeplabv3_resnet50"  # a torchvision name, a TorchScript file, or package.module:function
    fov_deg: Annotated[float, Field(ge=20, le=120)] = 90.0  # of the views that cover the sphere
    size: Count = 520  # pixels along a view's side
    overlap: Annotated[float, Field(ge=0, lt=0.9)] = 0.2  # of neighbouring views, as a share of fov_deg
    confidence: Probability = 0.75  # pixels under it are ignored
    label_fps: Positive = 4.0
    batch: Count = 12  # views in one pass of the network


class MotionSet(Section):
    """Size of one layout of the motion set. Groups of a class in one fold; a group's videos show the same thing."""

    train: Count = 12
    test: Count = 6
    clips: Count = 4  # videos of a group


class Motion(Section):
    """The synthetic action set in the layouts of UCF-101 and HMDB-51 (:mod:`avsa.acquire.motion`)."""

    seed: int = 0  # synth's seed gives the same places
    height: Annotated[int, Field(ge=32, multiple_of=2)] = 240  # pixels; the width is 4/3 of it
    duration_s: tuple[Positive, Positive] = (2.0, 5.0)
    places: Count = 12
    ucf101: MotionSet = MotionSet()
    hmdb51: MotionSet = MotionSet()

    @model_validator(mode="after")
    def _range(self) -> Motion:
        if self.duration_s[0] > self.duration_s[1]:
            raise ValueError(f"duration_s must be a range from low to high: it is {self.duration_s}")
        return self


class Checks(Section):
    """Thresholds of the ingest checks; what fails goes to the ledger with the check's name and figure."""

    min_rms_db: float = -60.0  # level of W; below is silence
    min_spatial_db: float = -40.0  # energy of Y, Z, X against W; below is mono
    max_mono_correlation: Probability = 0.95  # |correlation| of Y, Z and X with W; above is mono copied
    min_motion: float = 0.5  # frame difference in grey levels where the picture moves most; below is a still image
    max_seam: float = 2.0  # step across the left-right edge against the picture's own steps; together with
    max_pole: float = 0.2  # spread of the calmer pole's row against the picture's: above is a cube map or a flat video
    max_duration_gap_s: Positive = 1.0  # between the audio and the video stream
    max_missing_s: Positive = 0.25  # between a stream's declared and its decodable end; above is a truncated file
    min_duration_s: Positive = 1.0  # of a recording that is shorter than a clip


class Clips(Section):
    """The clip store: what ingest writes and loaders read (:mod:`avsa.clips`)."""

    clip_s: Positive = 10.0
    height: Annotated[int, Field(ge=16, multiple_of=2)] = 480  # pixels; the panorama is stored twice as wide
    fps: Positive = 16.0  # the training frame rate
    gop: Count = 8  # frames between key frames: a random half second decodes at most two groups
    crf: Annotated[int, Field(ge=0, le=51)] = 20
    sample_rate: Count = 24000
    channel_order: Literal["auto", "acn-sn3d", "acn-n3d", "fuma", "youtube-aac6", "youtube-aac4"] = "auto"
    shard_mb: Positive = 256.0
    checks: Checks = Checks()


class Views(Section):
    """How a decoded clip becomes training input: K crops of the video, each with the sound turned to it."""

    crops: Count = 4
    rule: Literal["paper", "released"] = "paper"  # released: as published checkpoints were trained (avsa.data.released)
    max_elevation_deg: Annotated[float, Field(ge=0, le=90)] = 60.0
    elevation_rule: Literal["area", "angle"] = "area"  # uniform on the sphere's area, or in the angle
    min_separation_deg: Annotated[float, Field(ge=0, le=180)] = 36.0
    fov_deg: tuple[Positive, Positive] = (25.0, 90.0)
    aspect: tuple[Positive, Positive] = (1.0, 1.0)
    size: Count = 112
    frames: Count = 8
    audio_s: Positive = 1.0
    mirror: Probability = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.2)  # brightness, contrast, saturation, hue
    gain_jitter: Probability = 0.1  # the volume is scaled by 1 ± this


class Audio(Section):
    """Audio features (:mod:`avsa.features`)."""

    kind: Literal["mono", "stereo", "ambisonics", "ambisonics+intensity"] = "ambisonics"
    scale: Literal["power", "magnitude", "released"] = "power"
    mels: Count = 128
    window: Count = 512  # samples: 21 ms at 24 kHz
    hop: Count = 240  # samples: 10 ms at 24 kHz
    statistics_clips: Count = 2000  # of the training split, on which normalisation is measured


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
    """One phase of a curriculum: an objective for some epochs."""

    objective: Literal["avc", "avc-multi", "avts", "avsa", "avsa+avts", "hard-only"]
    epochs: Count
    batch: Count = 28  # clips in a step, over all ranks and accumulated parts
    crops: Count = 4
    moments: Count = 1  # moments of one clip in a batch; the candidates of avts
    lr: Positive = 1e-4


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
        for name, same in runs.items():
            if isinstance(same, str) and not isinstance(runs.get(same), list):
                raise ValueError(f"{name} has the phases of {same}, which is no run with phases of its own")
        return {name: runs[same] if isinstance(same, str) else same for name, same in runs.items()}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Binary(Section):
    """Binary tasks on frozen features (paper, section 4.2)."""

    train: Literal["head", "all"] = "head"  # all: the whole network is fine-tuned, from the checkpoint for each setting
    epochs: Count = 10  # passes over the frozen features; over the clips where all is trained
    views_per_clip: Count = 2  # random views of each training clip that the head sees
    test_views_per_clip: Count = 2  # pairs per test clip and label
    batch: Count = 32
    lr: Annotated[list[Positive], BeforeValidator(_as_list), Field(min_length=1)] = [1e-4]
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the training recordings, to choose among several lr
    milestones: list[Count] = []  # epochs at which the learning rate falls to a tenth
    translation: Literal["none", "audio", "video", "concat", "parallel"] = "concat"  # how a head sees the translators
    audio_only: bool = False  # also a head that does not see the picture: 50 %, or the pairs give the answer away
    per_crop: bool = False  # also the accuracy of each crop by itself, as accuracy_crop
    cache_gb: Annotated[float, Field(ge=0)] = 8.0  # frozen features kept in runs/features, the oldest go first; 0: none


SegmentationInput = Literal["video", "video+audio", "video+audio+context", "end-to-end"]


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
    fresh_views: bool = (
        True  # other windows and crops in every epoch; false: their features are computed once, and kept
    )
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
    binary: Binary = Binary()
    segmentation: Segmentation = Segmentation()
    action: Action = Action()


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


class Tracking(Section):
    """Where runs are recorded; an empty URI is SQLite in the project's folder."""

    uri: str = ""
    experiment: str = "avsa"


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
    segment: Segment = Segment()
    clips: Clips = Clips()
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
