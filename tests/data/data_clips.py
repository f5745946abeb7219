"""Small clip stores of known pictures and sounds, and the plain way of decoding them.

Shapes: T frames, H×W pixels, C channels, S samples.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from avsa.clips.clip import Clip
from avsa.clips.label_maps import join_maps
from avsa.clips.shard import END, write_member
from avsa.clips.store import MANIFEST, ClipStore
from avsa.clips.transcode import VideoEncoder, encode_flac
from avsa.config import Clips

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]
FPS, RATE, HEIGHT, GOP = 8, 8000, 64, 4
LABEL_FPS = 3.0


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
    video: Bytes = np.clip(128 + 80 * waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)
    return video


def sound_field(seed: int, samples: int) -> Floats:
    """Four channels of coloured noise, below full scale."""
    noise = np.random.default_rng(seed).normal(size=(4, samples + 8))
    sound: Floats = 0.2 * np.mean([noise[:, i : samples + i] for i in range(8)], axis=0)
    return sound


def all_frames(mp4: bytes) -> list[av.VideoFrame]:
    """Every frame, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(mp4), mode="r") as container:
        return list(container.decode(video=0))


def planes(frame: av.VideoFrame) -> tuple[Bytes, Bytes]:
    """Luma H×W and chroma 2×H/2×W/2."""
    stacked = frame.to_ndarray().astype(np.uint8)
    return stacked[: frame.height], stacked[frame.height :].reshape(2, frame.height // 2, frame.width // 2)


def all_samples(flac: bytes) -> Floats:
    """Every sample, C×S, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(flac), mode="r") as container:
        packed = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    return packed.reshape(-1, 4).T / 32768.0


def write_store(
    root: Path,
    clips: list[tuple[Bytes, Floats]],
    damage: dict[int, Callable[[bytes], bytes]] | None = None,
    labels: list[Bytes] | None = None,
) -> ClipStore:
    """A store of clips (video_THWC, foa_CS) named clip-0, clip-1, ...; `damage` changes the video files of some.

    `labels`: each clip's label maps T×H×W, `LABEL_FPS` of them per second.
    """
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    with (root / "shard-00000.tar").open("wb") as tar:
        for i, (video_THWC, foa_CS) in enumerate(clips):
            mp4 = (damage or {}).get(i, bytes)(encode_mp4(video_THWC))
            members = {
                "mp4": write_member(tar, f"clip-{i}.mp4", mp4),
                "flac": write_member(tar, f"clip-{i}.flac", encode_flac(foa_CS.astype(np.float32), RATE)),
            }
            if labels is not None:
                members["segm.png"] = write_member(tar, f"clip-{i}.segm.png", join_maps(labels[i], LABEL_FPS))
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
                label_fps=None if labels is None else LABEL_FPS,
            )
            lines.append(clip.model_dump_json() + "\n")
        tar.write(END)
    (root / MANIFEST).write_text("".join(lines))
    return ClipStore(root, "train")


def ordinary_clip(seed: int, frames: int = 20, height: int = HEIGHT) -> tuple[Bytes, Floats]:
    """Moving picture and noise of one length."""
    return moving_picture(seed, frames, height), sound_field(seed, frames * RATE // FPS)
