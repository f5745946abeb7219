"""Samples per second that one core loads: from the clip store, and as `benchmarks.reference_loader` does.

A sample is 4 crops of 8 frames at 112×112 pixels and 4 four-channel log-mel spectrograms of 1 s, from a recording of
10 s at 960×480 pixels and 30 frames a second, in the page cache. The recordings are scenes of synth360 that are written
with the encoder's own choice of key frames; the clip store is ingested from these same files. Neither side changes
colours or mirrors. Rates are per second of the processor's time, both sides in turn in one process of one thread.
"""

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch

from avsa import config
from avsa.acquire.synth.media import write_audio
from avsa.acquire.synth.picture import draw
from avsa.acquire.synth.places import build_place
from avsa.acquire.synth.scene import draw_scene
from avsa.acquire.synth.soundfield import mix
from avsa.clips.ingest import ingest
from avsa.clips.store import ClipStore
from avsa.data.loader import ClipLoader
from avsa.data.views import Views, without_augmentation
from benchmarks import record
from benchmarks.reference_loader import ReferenceLoader

SYNTH = config.Synth(height=480, fps=30, duration_s=10, sample_rate=24000)
RECORDINGS = 2
ROUNDS = 9


def main() -> None:
    """Measure both side by side and write the figure."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        raw, clips = Path(folder, "raw"), Path(folder, "clips")
        raw.mkdir()
        for index in range(RECORDINGS):
            print(f"making recording {index + 1} of {RECORDINGS} ...", flush=True)
            write_recording(raw, index)
        ingest(raw, clips, config.Clips(), jobs=1)
        rates = compare(*loaders(ClipStore(clips), raw))
    value, baseline = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in rates)
    record.write("loader", value, "samples/s on one core", baseline, ratio)


def write_recording(folder: Path, index: int) -> None:
    """One scene as an encoder of no particular settings writes it."""
    scene = draw_scene(SYNTH, "train", index)
    place = build_place(SYNTH.seed, scene.place, SYNTH.height)
    video_THWC, _ = draw(scene, place, SYNTH.height, np.arange(round(SYNTH.duration_s * SYNTH.fps)) / SYNTH.fps)
    with av.open(str(folder / f"{index}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=round(SYNTH.fps))
        stream.height, stream.width, stream.pix_fmt = SYNTH.height, 2 * SYNTH.height, "yuv420p"
        for image in video_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    write_audio(folder / f"{index}.m4a", mix(scene, place, SYNTH), SYNTH.sample_rate)


def loaders(store: ClipStore, raw: Path) -> tuple[Callable[[], int], Callable[[], int]]:
    """Ours and the reference's: each call loads some samples and says how many."""
    views, audio, sample_rate = without_augmentation(config.Views()), config.Audio(), store[0].sample_rate
    make_views = Views(views, audio, sample_rate)
    loader = ClipLoader(store, views, batch=len(store), repeats=1000)
    batches = iter(batch for epoch in itertools.count() for batch in loader.epoch(epoch))
    reference = ReferenceLoader(views, audio, store[0].fps, sample_rate)

    def ours() -> int:
        video_NKCTHW, _ = make_views(next(batches))
        return len(video_NKCTHW)

    def theirs() -> int:
        for index in range(RECORDINGS):
            reference(raw / f"{index}.mp4", raw / f"{index}.m4a", SYNTH.duration_s)
        return RECORDINGS

    return ours, theirs


def compare(ours: Callable[[], int], theirs: Callable[[], int]) -> list[tuple[float, float]]:
    """Rates (ours, theirs) of each round, in samples per second of the processor's time."""

    def rate(load: Callable[[], int], least_s: float) -> float:
        start, samples = time.process_time(), 0
        while time.process_time() - start < least_s:
            samples += load()
        return samples / (time.process_time() - start)

    rate(ours, 0.5), rate(theirs, 0.5)  # warm up
    rates = []
    for number in range(ROUNDS):
        rates.append((rate(ours, 1.0), rate(theirs, 3.0)))
        print(f"round {number + 1} of {ROUNDS}: {rates[-1][0]:.1f} and {rates[-1][1]:.2f} samples/s", flush=True)
    return rates
