"""Small clip stores of known pictures and sounds, and the plain way of decoding them.

Shapes: T frames, H×W pixels, C channels, S samples.
"""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from avsa.clips.shard import END, write_member
from avsa.clips.store import MANIFEST, Clip, ClipStore
from avsa.clips.transcode import VideoEncoder, encode_flac
from avsa.config import Clips

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
FPS, RATE, HEIGHT, GOP = 8, 8000, 64, 4


def encode_mp4(video_THWC: Bytes, gop: int = GOP, crf: int = 20) -> bytes:
    """As the clip store has it."""
    encoder = VideoEncoder(Clips(height=video_THWC.shape[1], fps=FPS, gop=gop, crf=crf))
    for picture in video_THWC:
        encoder.add(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
    return encoder.finish()


def moving_picture(seed: int, frames: int, height: int = HEIGHT) -> Bytes:
    """Coloured waves, every frame another, T×H×W×3."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0 : 2 * height] * 2 * np.pi / height
    t = np.arange(frames)[:, None, None, None]
    speed, phase = rng.uniform(0.2, 1, (2, 3))
    waves = np.sin(x[..., None] + y[..., None] * [1, 2, 3] + t * speed + 6 * phase)
    return np.clip(128 + 80 * waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def sound_field(seed: int, samples: int) -> Floats:
    """Four channels of coloured noise, below full scale."""
    noise = np.random.default_rng(seed).normal(size=(4, samples + 8))
    return 0.2 * sum(noise[:, i : samples + i] for i in range(8)) / 8


def all_frames(mp4: bytes) -> list[av.VideoFrame]:
    """Every frame, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(mp4), mode="r") as container:
        return list(container.decode(video=0))


def planes(frame: av.VideoFrame) -> tuple[Bytes, Bytes]:
    """Luma H×W and chroma 2×H/2×W/2."""
    stacked = frame.to_ndarray()
    return stacked[: frame.height], stacked[frame.height :].reshape(2, frame.height // 2, frame.width // 2)


def all_samples(flac: bytes) -> Floats:
    """Every sample, C×S, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(flac), mode="r") as container:
        packed = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    return packed.reshape(-1, 4).T / 32768.0


StoreMaker = Callable[..., ClipStore]


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> StoreMaker:
    """`make_store([(video_THWC, foa_CS), ...])` writes a store with clips clip-0, clip-1, ..."""

    def make(clips: list[tuple[Bytes, Floats]], damage: dict[int, Callable[[bytes], bytes]] | None = None) -> ClipStore:
        root: Path = tmp_path_factory.mktemp("store")
        lines = []
        with (root / "shard-00000.tar").open("wb") as tar:
            for i, (video_THWC, foa_CS) in enumerate(clips):
                mp4 = (damage or {}).get(i, bytes)(encode_mp4(video_THWC))
                members = {
                    "mp4": write_member(tar, f"clip-{i}.mp4", mp4),
                    "flac": write_member(tar, f"clip-{i}.flac", encode_flac(foa_CS.astype(np.float32), RATE)),
                }
                clip = Clip(
                    id=f"clip-{i}",
                    source=f"{i}.mp4",
                    split="train",
                    start_s=0,
                    duration_s=len(video_THWC) / FPS,
                    width=video_THWC.shape[2],
                    height=video_THWC.shape[1],
                    fps=FPS,
                    frames=len(video_THWC),
                    sample_rate=RATE,
                    shard="shard-00000.tar",
                    members=members,
                    checks={},
                )
                lines.append(clip.model_dump_json() + "\n")
            tar.write(END)
        (root / MANIFEST).write_text("".join(lines))
        return ClipStore(root, "train")

    return make


@pytest.fixture(scope="session")
def store(make_store: StoreMaker) -> ClipStore:
    """Ten clips of 2.5 s."""
    frames = 20
    return make_store([(moving_picture(i, frames), sound_field(i, frames * RATE // FPS)) for i in range(10)])
