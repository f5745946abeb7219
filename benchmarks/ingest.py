"""Seconds to ingest a clip, beside those of the bare transcode of the same file.

Recordings are 10 s of 1920×960 pixels at 30 frames a second with four channels of AAC at 48 kHz: scenes of synth360,
drawn at half the size, enlarged, and encoded with the encoder's own choice of settings. The bare transcode decodes them
with PyAV, takes the frames for 16 a second, makes them 960×480 and encodes both streams with the clip store's settings:
nothing is checked, measured or joined. Both sides in turn, one thread each. Seconds are the processor's, so that other
work on the machine does not count; those on the wall are shown too.
"""

import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from avsa.clips.transcode import PRESET
from benchmarks import record

SYNTH = config.Synth(height=480, fps=30, duration_s=10, sample_rate=48000)
CLIPS = config.Clips()
RECORDINGS, ROUNDS = 2, 3

Seconds = tuple[float, float]  # of the processor, on the wall


def main() -> None:
    """Measure both side by side and write the figure."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        raw.mkdir()
        for index in range(RECORDINGS):
            print(f"making recording {index + 1} of {RECORDINGS} ...", flush=True)
            write_recording(raw, index)
        rounds = compare(raw, Path(folder))
    (value, wall), (baseline, bare_wall) = (
        [statistics.median(column) for column in zip(*side, strict=True)] for side in zip(*rounds, strict=True)
    )
    ratio = statistics.median(ours[0] / bare[0] for ours, bare in rounds)
    wall_ratio = statistics.median(ours[1] / bare[1] for ours, bare in rounds)
    print(f"on the wall: {wall:.2f} s and {bare_wall:.2f} s a clip, ratio {wall_ratio:.2f}")
    record.write("ingest", value, "CPU seconds per clip of 10 s", baseline, ratio)


def write_recording(folder: Path, index: int) -> None:
    """One scene, as an encoder of no particular settings writes it."""
    scene = draw_scene(SYNTH, "train", index)
    place = build_place(SYNTH.seed, scene.place, SYNTH.height)
    fps = round(SYNTH.fps)
    with av.open(str(folder / f"{index}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = 2 * SYNTH.height, 4 * SYNTH.height, "yuv420p"
        for second in range(round(SYNTH.duration_s)):
            video_THWC, _ = draw(scene, place, SYNTH.height, second + np.arange(fps) / fps)
            for image in video_THWC:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(4 * SYNTH.height, 2 * SYNTH.height, "yuv420p", interpolation="BICUBIC")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_audio(folder / f"{index}.m4a", mix(scene, place, SYNTH), SYNTH.sample_rate)


def compare(raw: Path, folder: Path) -> list[tuple[Seconds, Seconds]]:
    """Seconds per clip (ours, bare) of each round."""

    def bare() -> None:
        for index in range(RECORDINGS):
            transcode_picture(raw / f"{index}.mp4", folder / f"{index}.mp4")
            transcode_sound(raw / f"{index}.m4a", folder / f"{index}.flac")

    def ours() -> None:
        assert ingest(raw, folder / "clips", CLIPS, jobs=1).clips == RECORDINGS

    for side in (bare, ours):  # warm up
        side()
    rounds = []
    for number in range(ROUNDS):
        rounds.append((seconds_of(ours), seconds_of(bare)))
        (ours_s, _), (bare_s, _) = rounds[-1]
        print(f"round {number + 1} of {ROUNDS}: {ours_s:.2f} and {bare_s:.2f} CPU s per clip", flush=True)
    return rounds


def seconds_of(work: Callable[[], None]) -> Seconds:
    """Per clip."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) / RECORDINGS, (time.perf_counter() - wall) / RECORDINGS


def transcode_picture(source: Path, target: Path) -> None:
    """One pass of decoder, scaler and encoder."""
    container: Any
    out: Any
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        container.streams.video[0].codec_context.thread_count = 1
        options = {**PRESET, "crf": str(CLIPS.crf), "keyint_min": str(CLIPS.gop)}
        stream = out.add_stream("libx264", rate=round(CLIPS.fps), options=options)
        stream.width, stream.height, stream.pix_fmt = 2 * CLIPS.height, CLIPS.height, "yuv420p"
        context, number = stream.codec_context, 0
        context.gop_size, context.max_b_frames, context.thread_count = CLIPS.gop, 0, 1
        for frame in container.decode(video=0):
            if frame.time * CLIPS.fps + 1e-6 < number:
                continue
            small = frame.reformat(2 * CLIPS.height, CLIPS.height, "yuv420p", interpolation="AREA")
            small.pts, small.time_base, small.pict_type = number, Fraction(1, round(CLIPS.fps)), 0
            out.mux(stream.encode(small))
            number += 1
        out.mux(stream.encode(None))


def transcode_sound(source: Path, target: Path) -> None:
    """One pass of decoder, resampler and encoder."""
    container: Any
    out: Any
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = out.add_stream("flac", rate=CLIPS.sample_rate, layout="quad")
        resampler: Any = av.AudioResampler(format="s16", layout="quad", rate=CLIPS.sample_rate)
        for frame in container.decode(audio=0):
            for resampled in resampler.resample(frame):
                out.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            out.mux(stream.encode(resampled))
        out.mux(stream.encode(None))
