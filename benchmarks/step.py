"""Clips per second that one GPU trains on with networks of the paper's size (R(2+1)D-18, 4 crops of 8×112×112 a clip).

A step of ours: views on the GPU from decoded panoramas of 960×480, bf16 autocast, the AVSA loss, backward pass and
Adam. The baseline is the same step in plain fp32. Decoding is not in it (`benchmarks.loader`). Without a GPU nothing is
written.
"""

import math
import statistics
from typing import Literal

import torch

from avsa import config
from avsa.data.batch import Batch
from avsa.data.colour import yuv_to_rgb
from avsa.data.views import Views
from avsa.engine.optim import adam
from avsa.engine.precision import autocast
from avsa.losses import ContrastiveObjective
from avsa.models.network import AVSANetwork
from avsa.tasks.pretrain import PretrainTask, network_spec
from benchmarks import record

CLIPS = 28  # the paper's batch; halved until it fits
STEPS = 10
ROUNDS = 5


def main() -> None:
    """Measure both side by side and write the figure."""
    if not torch.cuda.is_available():
        print("no GPU: benchmarks/step.json is not written")
        return
    torch.backends.cudnn.benchmark = True
    clips = CLIPS
    while True:
        try:
            rates = [(rate(clips, "bf16"), rate(clips, "fp32")) for _ in range(ROUNDS)]
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            clips //= 2
            print(f"out of memory: {clips} clips a step", flush=True)
    value, baseline = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in rates)
    record.write("step", value, f"clips/s, {clips} clips a step", baseline, ratio)


def rate(clips: int, precision: Literal["bf16", "fp32"]) -> float:
    """Clips per second of training steps."""
    device = torch.device("cuda")
    network = AVSANetwork(network_spec(config.Model(), config.Audio())).to(device)
    views = Views(config.Views(), config.Audio(), 24000).to(device)
    task = PretrainTask(network, views, ContrastiveObjective("avsa"))
    optimiser = adam(task.trained(), 1e-5)
    batch = random_batch(clips).to(device)

    def step() -> None:
        optimiser.zero_grad()
        with autocast(device, precision):
            loss, _ = task.step(batch)
        loss.backward()
        optimiser.step()

    for _ in range(3):
        step()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(STEPS):
        step()
    end.record()
    end.synchronize()
    seconds: float = start.elapsed_time(end) / 1000
    return clips * STEPS / seconds


def random_batch(
    clips: int,
    views: config.Views = config.Views(),
    size: tuple[int, int] = (480, 960),
    samples: int = 24000,
) -> Batch:
    """Noise in the form that workers send."""
    H, W = size
    generator = torch.Generator().manual_seed(0)
    shape = (clips, views.crops)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    return Batch(
        y_NTHW=noise(clips, views.frames, H, W),
        uv_NT2hw=noise(clips, views.frames, 2, H // 2, W // 2),
        rgb_N34=torch.from_numpy(yuv_to_rgb(1, 1)).repeat(clips, 1, 1),
        foa_NCS=0.1 * torch.randn(clips, 4, samples, generator=generator),
        azimuth_NK=uniform(-math.pi, math.pi),
        elevation_NK=uniform(-1, 1),
        fov_NK=uniform(0.5, 1.5),
        aspect_NK=torch.ones(shape),
        mirror_NK=uniform(0, 1) < 0.5,
        jitter_NK4=torch.stack((uniform(0.6, 1.4), uniform(0.6, 1.4), uniform(0.6, 1.4), uniform(-0.2, 0.2)), -1),
        gain_N=torch.ones(clips),
        clip_N=torch.arange(clips),
        source_N=torch.arange(clips),
        moment_N=torch.zeros(clips, dtype=torch.long),
        ids=[str(clip) for clip in range(clips)],
    )
