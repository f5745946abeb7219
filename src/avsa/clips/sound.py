"""Decoding a recording's sound to samples on the recording's time line, at the training rate.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from avsa.clips.probe import Media, Span

Samples = npt.NDArray[np.float32]

_JITTER_S = 0.04  # timestamps of milliseconds and of whole packets wander by less; more is a real gap


def decode_sound(media: Media, sample_rate: int, limit_s: float = math.inf) -> tuple[Samples, list[Span]]:
    """The samples `sound_CS` from time zero on, and the spans of packets that are damaged or missing.

    Gaps in the timestamps are filled with silence, overlaps are cut, so that sample n sounds at n / sample_rate.
    Decoding stops once `limit_s` is reached.
    """
    pieces: list[Samples] = []
    damaged: list[Span] = []
    position, rate, channels = 0, media.stream.codec_context.sample_rate, media.stream.codec_context.channels
    for frame in _frames(media, damaged):
        samples_CS = _planar(frame)
        if samples_CS.shape[0] != channels or frame.sample_rate != rate:
            damaged.append((position / rate, (position + frame.samples) / rate))
            continue
        start_s = media.seconds(frame.pts)
        start = position if start_s is None else round(start_s * rate)
        if position == 0 or abs(start - position) > _JITTER_S * rate:
            if start > position:
                if position:
                    damaged.append((position / rate, start / rate))
                pieces.append(np.zeros((channels, start - position), np.float32))
            samples_CS = samples_CS[:, max(0, position - start) :]
            position = max(position, start)
        pieces.append(samples_CS)
        position += samples_CS.shape[1]
        if position > limit_s * rate:
            break
    sound_CS = np.concatenate(pieces, axis=1) if pieces else np.zeros((channels, 0), np.float32)
    return _resample(sound_CS, rate, sample_rate), damaged


def _frames(media: Media, damaged: list[Span]) -> Any:
    end = 0.0
    packets = media.container.demux(media.stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:  # the demuxer cannot go on: what is missing shows in the length
            return
        try:
            for frame in packet.decode():
                yield frame
                end = (media.seconds(frame.pts) or end) + frame.samples / frame.sample_rate
        except av.error.FFmpegError:
            at = media.seconds(packet.pts)
            at = end if at is None else at
            damaged.append((at, at + _JITTER_S))


def _planar(frame: Any) -> Samples:
    data: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    scale = 1.0 if data.dtype.kind == "f" else 1.0 / -float(np.iinfo(data.dtype).min)
    return np.asarray(data * scale, np.float32)


def _resample(sound_CS: Samples, rate: int, target: int) -> Samples:
    if rate == target or sound_CS.shape[1] == 0:
        return sound_CS
    from scipy.signal import resample_poly  # slow to import, and not needed at the training rate

    ratio = Fraction(target, rate)
    return np.stack([resample_poly(x, ratio.numerator, ratio.denominator).astype(np.float32) for x in sound_CS])
