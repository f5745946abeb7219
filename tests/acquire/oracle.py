"""A made-up world whose colours are its classes, a network that reads them, and recordings of it."""

from __future__ import annotations

import json
import math
import os
import signal
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avsa.acquire.segmenter import MEAN, STD
from avsa.geometry.sphere import direction_to_vector, pixel_directions

COLOURS = [(230, 30, 30), (30, 200, 30), (30, 30, 230), (235, 235, 30), (20, 20, 20), (240, 240, 240)]
CLASSES = {"things": ["red", "green", "blue"], "stuff": ["yellow", "black", "white"]}
FPS, LABEL_FPS = 16, 4
Array = npt.NDArray[np.uint8]


class Oracle(nn.Module):
    """Logits: how near a pixel's colour is to each class's; `sharpness` makes it sure."""

    def __init__(self, sharpness: float = 100.0) -> None:
        super().__init__()
        self.classes, self.sharpness = CLASSES, sharpness
        self.register_buffer("colours", torch.tensor(COLOURS, dtype=torch.float32).view(-1, 3, 1, 1) / 255)

    def forward(self, views_N3hw: Tensor) -> Tensor:
        picture = views_N3hw * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        colours = self.get_buffer("colours")
        return torch.stack([-self.sharpness * ((picture - colour) ** 2).sum(1) for colour in colours], 1)


class Deadly(Oracle):
    """Ends its process where it sees nothing but magenta."""

    def forward(self, views_N3hw: Tensor) -> Tensor:
        if bool((views_N3hw[:, 0] > 1).all()) and bool((views_N3hw[:, 1] < -1).all()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(views_N3hw)


def write_torchscript(folder: Path, network: nn.Module, size: int = 32, name: str = "model.pt") -> Path:
    """The network as a file with its classes beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated; and shapes become constants
        torch.jit.trace(network, torch.zeros(2, 3, size, size)).save(str(folder / name))
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    return folder / name


def regions(height: int, turn: float) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Class ids H×2H of a sphere divided among 14 points and turned by an angle, and where no border is within 4°."""
    azimuth_HW, elevation_HW = pixel_directions(height, 2 * height)
    rays = direction_to_vector(azimuth_HW - turn, elevation_HW)
    points_P3 = torch.nn.functional.normalize(torch.randn(14, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    points_P3[0] = torch.tensor([0.0, 0.0, 1.0]) + 0.2 * points_P3[0]  # nothing is the same all around a pole
    distance_HWP = torch.acos((rays @ torch.nn.functional.normalize(points_P3, dim=-1).T).clamp(-1, 1))
    near_HW2, index_HW2 = distance_HWP.topk(2, largest=False)
    clear_HW = (near_HW2[..., 1] - near_HW2[..., 0]) > 2 * math.radians(4)
    return (index_HW2[..., 0] % len(COLOURS)).to(torch.uint8).numpy(), clear_HW.numpy()


def turn_at(map_number: int) -> float:
    """Radians by which the world has turned at a map's time and until the next."""
    return 0.7 * map_number


def write_world(path: Path, maps: int = 2, height: int = 96) -> Path:
    """A video of the turning world, so long that it has this many label maps."""
    ids = [regions(height, turn_at(number // (FPS // LABEL_FPS)))[0] for number in range(maps * FPS // LABEL_FPS)]
    return write_video(path, np.array(COLOURS, np.uint8)[np.stack(ids)])


def write_video(path: Path, video_THWC: Array) -> Path:
    """H.264 at 16 frames per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10", "g": "4"})
        stream.height, stream.width, stream.pix_fmt = *video_THWC.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(video_THWC):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
