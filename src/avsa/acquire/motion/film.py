"""Draw one video of an action, and write it as UCF-101 and HMDB-51 have theirs: MPEG-4 part 2 in AVI.

Shapes: T frames, H×W pixels, C = 3 colours.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from av.codec.context import Flags

from avsa.acquire.motion.gestures import ACTIONS, Start, track
from avsa.acquire.synth import looks
from avsa.acquire.synth.looks import Pose
from avsa.acquire.synth.picture import shade
from avsa.acquire.synth.places import build_place, frames
from avsa.acquire.synth.rhythm import Array
from avsa.acquire.synth.things import THINGS
from avsa.geometry.crops import perspective

FIGURES = [n for n, thing in enumerate(THINGS) if thing.name != "drum"]  # a drum looks the same however it is turned
SHARPNESS = 3  # MPEG-4 quantiser of every frame: 1 is the best, 31 the worst
GROUP = 12  # frames between key frames

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What is seen: a thing held still in one moment of its own gesture, in front of a place. Angles in radians."""

    figure: int  # index into THINGS
    hue: float
    phase: float  # of the thing's own gesture
    glow: float
    place_seed: int
    place: int
    hues: tuple[float, float, float]  # of the place's sky, backdrop and ground
    azimuth: float  # of the camera in the place
    elevation: float
    fov: float
    clock_s: float  # where the place's own motion stands at t = 0


def draw_look(rng: np.random.Generator, place_seed: int, places: int) -> Look:
    """A look at random; the camera sees about what a crop of a panorama does."""
    return Look(
        figure=FIGURES[rng.integers(len(FIGURES))],
        hue=rng.random(),
        phase=rng.random(),
        glow=rng.uniform(0.5, 1.0),
        place_seed=place_seed,
        place=int(rng.integers(places)),
        azimuth=rng.uniform(-np.pi, np.pi),
        elevation=math.radians(rng.uniform(-30, 30)),
        fov=math.radians(rng.uniform(80, 100)),
        clock_s=rng.uniform(0, 60),
        hues=(rng.random(), rng.random(), rng.random()),
    )


def draw_film(action: str, look: Look, start: Start, height: int, width: int, time_T: Array) -> Bytes:
    """Frames `video_THWC` of an action at the given times."""
    video_THWC = _surroundings(look, height, width, time_T)
    track_T = track(ACTIONS[action], start, time_T)
    right, up, angle, radius = (a[:, None, None].astype(np.float32) for a in track_T)
    x = ((2 * np.arange(width) + 1 - width) / height).astype(np.float32)[None, None, :]
    y = ((height - 1 - 2 * np.arange(height)) / height).astype(np.float32)[None, :, None]
    phase, glow = np.full_like(right, look.phase), np.full_like(right, look.glow)
    thing = THINGS[look.figure]
    pose = Pose(angle=angle, scale=radius, right=right, up=up)
    distance, tone = thing.figure(*looks.apply(pose, x, y), phase, thing.beat(phase))
    cover, colour = shade(distance, tone, glow, 2 / height / radius, look.hue)
    mixed: Bytes = np.rint(video_THWC + cover[..., None] * (colour * 255 - video_THWC)).astype(np.uint8)
    return mixed


def _surroundings(look: Look, height: int, width: int, time_T: Array) -> Bytes:
    place = build_place(look.place_seed, look.place, 2 * height)
    # turned to the left, so the camera looks ahead
    panorama_THWC = frames(place, time_T + look.clock_s, look.azimuth, look.hues)
    ahead, elevation, fov = torch.zeros(1), torch.tensor([look.elevation]), torch.tensor([look.fov])
    panorama_TCHW = torch.from_numpy(panorama_THWC).permute(0, 3, 1, 2)
    video_TCHW = perspective(panorama_TCHW.contiguous(), ahead, elevation, fov, (height, width))[0]
    return video_TCHW.permute(0, 2, 3, 1).numpy()


def write_avi(path: Path, video_THWC: Bytes, fps: int) -> None:
    """8-bit RGB frames; the same frames give the same bytes."""
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.codec_tag = "XVID"
        stream.height, stream.width = video_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        encoder = stream.codec_context
        encoder.gop_size, encoder.max_b_frames, encoder.thread_count = GROUP, 0, 1
        encoder.qmin = encoder.qmax = SHARPNESS
        encoder.flags |= Flags.bitexact
        for index, image in enumerate(video_THWC):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
