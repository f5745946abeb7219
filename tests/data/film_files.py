"""Small AVI files whose frames say their own number, and the two layouts made of them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH, BITS = 48, 64, 8

Frames = npt.NDArray[np.uint8]


def numbered(count: int, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """Frames whose number stands in upright bars of black and white, the lowest bit on the left."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    rows_TW = np.repeat(bits * 255, width // BITS, axis=1).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rows_TW[:, None, :, None], (count, height, width, 3)))


def numbers(frames_THWC: npt.NDArray[np.generic]) -> list[int]:
    """The numbers that frames say."""
    count, width = frames_THWC.shape[0], frames_THWC.shape[2]
    bars = np.asarray(frames_THWC, float).mean((1, 3)).reshape(count, BITS, width // BITS).mean(2) > 128
    return [int((bar << np.arange(BITS)).sum()) for bar in bars]


def write_film(path: Path, frames_THWC: Frames, fps: float, b_frames: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        encoder = stream.codec_context
        encoder.qmin = encoder.qmax = 2
        encoder.max_b_frames, encoder.gop_size = b_frames, 300
        for index, image in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_ucf(root: Path, videos: dict[str, Frames | None], train: Iterable[str], test: Iterable[str]) -> Path:
    """`ucf101` with fold 1; videos by ``Class/file``, None for an empty file. Classes are numbered by name."""
    folder = root / "ucf101"
    classes = sorted({name.partition("/")[0] for name in videos})
    for name, frames_THWC in videos.items():
        path = folder / "UCF-101" / name
        if frames_THWC is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            write_film(path, frames_THWC, 25)
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(classes, start=1)))
    labelled = (f"{name} {classes.index(name.partition('/')[0]) + 1}\r\n" for name in train)
    (lists / "trainlist01.txt").write_text("".join(labelled))
    (lists / "testlist01.txt").write_text("".join(f"{name}\r\n" for name in test))
    return folder
