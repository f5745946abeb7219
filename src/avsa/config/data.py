"""Sections of what makes data and turns it into training input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from avsa.config.section import Count, Positive, Probability, Section


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
    min_loudness: float = -60.0  # LKFS (ITU-R BS.1770) of W; below nothing can be heard
    min_spatial_db: float = -40.0  # energy of Y, Z, X against W; below is mono
    max_mono_correlation: Probability = 0.95  # |correlation| of channels; above one is a copy: mono or stereo
    max_directionless: Probability = 0.3  # share of W's energy from no direction; above is a voice-over
    max_dropout_s: Positive = 0.1  # in which no channel changes at all, as in digital silence
    min_motion: float = 0.5  # frame difference in grey levels where the picture moves most; below is a still image
    max_seam: float = 1.6  # step across the left-right edge against the picture's own steps; together with
    max_pole: float = 0.2  # spread of the calmer pole's row against the picture's: above is a cube map or a flat video
    max_twins: Probability = 0.9  # correlation of the picture's halves; above is a stereoscopic video
    max_dropped: Probability = 0.1  # share of the time in which frames are missing
    max_start_offset_s: Positive = 0.5  # between the first sound and the first frame
    max_duration_gap_s: Positive = 1.0  # between the audio and the video stream
    max_missing_s: Positive = 0.25  # between a stream's declared and its decodable end; above is a truncated file
    min_duration_s: Positive = 1.0  # of a recording that is shorter than a clip


class Segments(Section):
    """Which parts of a recording become clips where its source lists none (:mod:`avsa.clips.segments`)."""

    rule: Literal["back-to-back", "loud"] = "back-to-back"  # loud: windows that do not overlap and reach min_db
    min_db: float = -40.0  # RMS of W in a window, against full scale


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
    layout: Literal["auto", "yt360", "downloaded", "starss23", "sphere360", "folder"] = "auto"  # of the raw folder
    leaks: Literal["report", "refuse"] = "report"  # recordings that another set tests on, or trains on what we test on
    segments: Segments = Segments()
    checks: Checks = Checks()


class Store(Section):
    """Where clips are read from (:mod:`avsa.clips.store`), and how far training mixes them."""

    address: str = ""  # s3://bucket/folder, or another address that fsspec reads; empty is data/clips/<dataset>
    cache: str = "runs/blocks"  # folder for what has been read from an address
    cache_gb: Annotated[float, Field(ge=0.1)] = 20.0
    shuffle_shards: Count = 32  # a pass over more shards takes so many at a time, in random order (data/shuffle.py)


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


Client = Annotated[str, Field(pattern=r"^[a-z_]+(\+no-agent)?$")]


class Download(Section):
    """Fetching listed videos (:mod:`avsa.acquire.youtube`); the lists lie in ``data/lists/<dataset>``."""

    address: str = "https://www.youtube.com/watch?v={id}"  # or a mirror's; {split} is filled in too
    # Which of YouTube's applications yt-dlp asks as, in turn; +no-agent: with an empty User-Agent.
    clients: list[Client] = ["visionos", "android_vr", "tv_samsung", "web+no-agent"]
    workers: Count = 4
    interval_s: Annotated[float, Field(ge=0)] = 3.0  # between the beginnings of two requests, of all workers together
    rate_mb_s: Positive | None = None  # of all workers together
    attempts: Count = 5  # in a row that bring nothing new
    backoff_s: Positive = 5.0  # before the second attempt; doubles with every other
    max_wait_s: Positive = 900.0  # a server that asks for a longer pause is left alone: the next run tries again
    timeout_s: Positive = 30.0  # without a byte
    max_mb: Positive = 4000.0  # of a video with its sound
    max_height: Count | None = 1080  # pixels; if a video has no smaller version, its smallest
    cookies: str = ""  # a file as browsers' extensions export it (Netscape's format)
    proxy: str = ""
    options: dict[str, Any] = {}  # further ones of yt_dlp.YoutubeDL, such as extractor_args

    @model_validator(mode="after")
    def _addresses(self) -> Download:
        if "{id}" not in self.address or not self.address.startswith(("http://", "https://")):
            raise ValueError("address must be one of HTTP with {id} in it, such as https://mirror/{split}/{id}.mkv")
        if "@" in self.proxy:
            raise ValueError("proxy holds a password and configurations are recorded: put it in HTTPS_PROXY instead")
        if not self.clients:
            raise ValueError("clients must name at least one, such as web")
        return self


class Audio(Section):
    """Audio features (:mod:`avsa.features`)."""

    kind: Literal["mono", "stereo", "ambisonics", "ambisonics+intensity"] = "ambisonics"
    scale: Literal["power", "magnitude", "released"] = "power"
    mels: Count = 128
    window: Count = 512  # samples: 21 ms at 24 kHz
    hop: Count = 240  # samples: 10 ms at 24 kHz
    statistics_clips: Count = 2000  # of the training split, on which normalisation is measured
