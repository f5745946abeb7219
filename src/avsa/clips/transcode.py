"""Encoding a clip's members: H.264 in mp4, FLAC. Byte for byte the same for the same input: one thread per clip.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from avsa.clips.sound import Samples
from avsa.config import Clips

# On a 10 s panorama of 960×480 veryfast is a third smaller than superfast and takes as long; without CABAC and the
# deblocking filter (fastdecode) decoding takes half the time for 7 % more bytes at the same PSNR.
# With macroblock trees or lookahead the encoder reads memory around the frame, and the bytes differ from run to run.
PRESET = {
    "preset": "veryfast",
    "tune": "fastdecode",
    "sc_threshold": "0",
    "x264-params": "mbtree=0:rc-lookahead=0",
}


class VideoEncoder:
    """Takes the frames of one clip in order and gives the mp4's bytes: frame n has the timestamp n / fps exactly."""

    def __init__(self, config: Clips) -> None:
        self.frames = 0
        self._rate = Fraction(config.fps).limit_denominator(1001)
        self._buffer = io.BytesIO()
        self._container: Any = av.open(self._buffer, "w", format="mp4")
        options = {**PRESET, "crf": str(config.crf), "keyint_min": str(config.gop)}
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = 2 * config.height, config.height, "yuv420p"
        context = self._stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = config.gop, 0, 1

    def add(self, frame: Any) -> None:
        """Append a frame of the store's size (`fit`)."""
        if self.frames == 0:
            self._stream.codec_context.colorspace = frame.colorspace
            self._stream.codec_context.color_range = frame.color_range
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        frame.pict_type = PictureType.NONE  # the source's key frames are not ours
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


def fit(frame: Any, height: int) -> Any:
    """The frame as yuv420p of height × 2·height, whatever its aspect: it spans 360° × 180° by definition."""
    shrinks = frame.height > height
    return frame.reformat(
        width=2 * height, height=height, format="yuv420p", interpolation="AREA" if shrinks else "BICUBIC"
    )


def encode_flac(sound_CS: Samples, sample_rate: int) -> bytes:
    """Samples in [-1, 1] as FLAC of 16 bit, channels in the order given."""
    buffer = io.BytesIO()
    container: Any = av.open(buffer, "w", format="flac")
    stream = container.add_stream("flac", rate=sample_rate, layout="quad")
    stream.codec_context.format, stream.codec_context.thread_count = "s16", 1
    packed = np.clip(np.rint(sound_CS * 32768), -32768, 32767).astype(np.int16).T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout="quad")
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    container.close()
    return buffer.getvalue()
