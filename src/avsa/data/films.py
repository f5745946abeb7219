"""Frames of ordinary video files by their number.

Frames are counted as they are shown, and frame i is shown at i / rate: UCF-101 and HMDB-51 have constant rates. Both
have few key frames, so decoding starts at the first frame and ends with the last one wanted; only wanted frames become
RGB.

Shapes: T frames, H×W pixels, C = 3 (R, G, B).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from avsa.errors import UserError

Frames = npt.NDArray[np.uint8]
Choice = Callable[[int, float], Sequence[int]]
"""From a video's number of frames and frame rate (Hz) to the frames that are wanted."""

HEADER_SLACK_S = 0.2  # a header may promise so much more than there is


def read_frames(path: Path, choose: Choice) -> tuple[Frames, float]:
    """The chosen frames `frames_THWC`, in the order of the choice, and the frame rate.

    Where the file ends up to 0.2 s before its header says, as DivX files do, the last frame stands for those after it.

    Raises:
        UserError: not a video, damaged, or truncated.
    """
    try:
        with av.open(str(path), mode="r") as container:
            if not container.streams.video:
                raise UserError(f"{path}: no video in this file")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # the workers are the parallelism
            rate = float(stream.average_rate or 0)
            count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            if not count or not rate:
                raise UserError(f"{path}: the video has no frames")
            if not stream.frames:
                container.seek(0)
            wanted = list(choose(count, rate))
            pictures = _decode(container, set(wanted))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded: {error.strerror or error}") from None
    last = max(pictures, default=-1)
    if max(wanted) - last > HEADER_SLACK_S * rate or not pictures:
        raise UserError(f"{path}: ends before frame {max(wanted) + 1} of {count}: copy it again")
    return np.stack([pictures[min(number, last)] for number in wanted]), rate


def _decode(container: av.container.InputContainer, wanted: set[int]) -> dict[int, Frames]:
    """The wanted frames that there are, and the last one of the file if some are beyond it."""
    pictures: dict[int, Frames] = {}
    number, frame = -1, None
    for number, frame in enumerate(container.decode(video=0)):
        if number in wanted:
            pictures[number] = _rgb(frame)
        if number >= max(wanted):
            return pictures
    if frame is not None:
        pictures[number] = _rgb(frame)
    return pictures


def _rgb(frame: av.VideoFrame) -> Frames:
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def window(count: int, rate: float, start: float, frames: int, fps: float) -> list[int]:
    """Numbers of `frames` frames at `fps` in a video of `count` frames at `rate`.

    Args:
        start: where the window lies, from 0 (begins with the first frame) to 1 (ends with the last).

    The frame shown nearest to each moment is taken. A video shorter than the window is played again from its beginning.
    """
    room_s = max(0.0, (count - 1) / rate - (frames - 1) / fps)
    return [math.floor((start * room_s + i / fps) * rate + 0.5) % count for i in range(frames)]


class Films:
    """Videos by number, from their files, or from memory once `keep` has read them.

    Args:
        paths: the videos' files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._kept: list[tuple[Frames, float]] = []

    def frames(self, number: int, choose: Choice) -> Frames:
        """The chosen frames `frames_THWC` of a video; UserError as :func:`read_frames`."""
        if self._kept:
            film_THWC, rate = self._kept[number]
            return film_THWC[list(choose(len(film_THWC), rate))]
        return read_frames(self.paths[number], choose)[0]

    def keep(self, gigabytes: float) -> bool:
        """Read all videos into memory where they take less than that, judged by the first one; whether it was done.

        To be called before worker processes start: they share what was read.
        """
        if gigabytes == 0 or not self.paths:
            return False
        first = _whole(self.paths[0])
        if first[0].nbytes * len(self.paths) > gigabytes * 1e9:
            return False
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # FFmpeg works outside of Python's lock
            others = pool.map(_whole, self.paths[1:])
            read = tqdm(others, total=len(self.paths), initial=1, desc="read videos", unit="video", disable=None)
            self._kept = [first, *read]
        return True


def _whole(path: Path) -> tuple[Frames, float]:
    return read_frames(path, lambda count, rate: range(count))
