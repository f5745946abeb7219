"""An ingest of 100,000 recordings beside one of 10,000: what it takes per recording besides converting, and its memory.

Recordings are 100 tiny ones under 1,000 names each. They are found, keyed, journalled, joined to shards, listed and
verified as all others; but they are converted once only, and each name gets what its recording became. Seconds are the
processor's. Memory is the largest resident size of a process that does nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import av
import numpy as np

from avsa import config
from benchmarks import record

MANY, FEW, DISTINCT = 100_000, 10_000, 100
CLIPS = config.Clips(clip_s=1.0, height=16, sample_rate=2000, channel_order="acn-sn3d")  # small: 100,000 fit on a disk


class Cost(NamedTuple):
    """Of one process."""

    ingest_s: float
    verify_s: float
    open_s: float
    peak: int  # bytes


def main() -> None:
    """Measure and write three figures."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        print(f"making {DISTINCT} recordings, and {MANY:,} names ...", flush=True)
        (root / "distinct").mkdir()
        for index in range(DISTINCT):
            write_recording(root / "distinct", index)
        few, many = (measured(root, count) for count in (FEW, MANY))
    print(f"{MANY:,}: ingest {many.ingest_s:.0f} s, verify {many.verify_s:.0f} s, open {many.open_s:.2f} s")
    compare(
        "large-ingest", "CPU ms per recording of 100,000 (10,000)", 1e3 * many.ingest_s / MANY, 1e3 * few.ingest_s / FEW
    )
    compare("large-verify", "CPU ms per clip of 100,000 (10,000)", 1e3 * many.verify_s / MANY, 1e3 * few.verify_s / FEW)
    compare("large-memory", "MB at most with 100,000 recordings (10,000)", many.peak / 1e6, few.peak / 1e6)


def compare(name: str, unit: str, value: float, baseline: float) -> None:
    """Write one of this benchmark's figures."""
    record.write(name, value, unit, baseline, value / baseline, benchmark="large")


def write_recording(folder: Path, index: int) -> None:
    """A second of moving noise and four channels of noise."""
    random = np.random.default_rng(index)
    container: Any
    with av.open(str(folder / f"{index:02d}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        for image in random.integers(0, 256, (16, 16, 32, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(folder / f"{index:02d}.flac"), "w") as container:
        stream = container.add_stream("flac", rate=24000, layout="quad")
        samples = (3000 * random.standard_normal((1, 4 * 24000))).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="quad")
        frame.sample_rate = 24000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measured(root: Path, count: int) -> Cost:
    """Name the recordings `count` times, and ingest them in a process of its own."""
    raw = root / f"raw-{count}"
    for index in range(count):
        folder = raw / f"{index // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in ("mp4", "flac"):
            os.link(root / "distinct" / f"{index % DISTINCT:02d}.{suffix}", folder / f"{index:06d}.{suffix}")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        return alone.submit(ingest_and_verify, raw, root / f"clips-{count}").result()


def ingest_and_verify(raw: Path, out: Path) -> Cost:
    """What it costs this process."""
    from avsa.clips import attempt
    from avsa.clips.ingest import ingest
    from avsa.clips.store import ClipStore
    from avsa.clips.verify import verify

    times = [time.process_time()]
    with patch.object(attempt, "convert", Copies()):
        summary = ingest(raw, out, CLIPS, jobs=1)
    times.append(time.process_time())
    assert verify(out, jobs=1).clips == summary.clips == summary.recordings, summary
    times.append(time.process_time())
    ClipStore(out)
    times.append(time.process_time())
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    ingest_s, verify_s, open_s = np.diff(times)
    return Cost(ingest_s, verify_s, open_s, peak)


class Copies:
    """Stands in for the conversion: each recording's result is that of the first one with the same content."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, list[bytes]]] = {}

    def __call__(self, recording: Any, settings: config.Clips, tar: Path, index: Path) -> None:
        """As `avsa.clips.convert.convert`."""
        from avsa.clips.convert import Index, Piece, convert
        from avsa.clips.shard import write_member

        content = int(recording.video.stem) % DISTINCT
        if content not in self.known:
            convert(recording, settings, tar, index)
            [piece] = Index.model_validate_json(index.read_bytes()).pieces
            payloads = [tar.read_bytes()[offset : offset + size] for offset, size in piece.clip.members.values()]
            self.known[content] = piece.clip, payloads
        clip, payloads = self.known[content]
        clip = clip.model_copy(update={"id": f"{recording.name}-0000", "source": recording.source})
        with tar.open("wb") as file:
            for name, payload in zip(clip.members, payloads, strict=True):
                write_member(file, f"{clip.id}.{name}", payload)
            end = file.tell()
        index.write_bytes(Index(pieces=[Piece(clip=clip, start=0, end=end)]).model_dump_json().encode())
