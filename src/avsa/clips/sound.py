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

from avsa.clips.dropouts import Dropouts
from avsa.clips.probe import Media, Span

Samples = npt.NDArray[np.float32]

_LAYOUTS = {4: "quad", 6: "5.1"}  # any layout of as many channels: they are kept apart
_SILENCE_S = 10.0  # a longer gap is filled piece by piece
_JITTER_S = 0.04  # timestamps of milliseconds and of whole packets wander by less; more is a real gap
_LATE_S = 0.1  # a decoder's first samples follow the stream's declared start by less


def decode_sound(
    media: Media, sample_rate: int, limit_s: float = math.inf, still: list[Span] | None = None
) -> tuple[Samples, list[Span]]:
    """The samples `sound_CS` from time zero on, and the spans of packets that are damaged or missing.

    Gaps in the timestamps are filled with silence, overlaps are cut, so that sample n sounds at n / sample_rate.
    Decoding stops once `limit_s` is reached. To `still` are added the spans in which the sound as it was recorded
    stands still (`avsa.clips.dropouts`).
    """
    codec = media.stream.codec_context
    position, rate, channels, filled = 0, codec.sample_rate, codec.channels, 0
    out = _Resampled(channels, rate, sample_rate)
    damaged: list[Span] = []
    dropouts = Dropouts(rate)
    for frame in _frames(media, damaged):
        samples_CS = _planar(frame)
        if samples_CS.shape[0] != channels or frame.sample_rate != rate:
            damaged.append((position / rate, (position + frame.samples) / rate))
            continue
        start_s = media.seconds(frame.pts)
        start = position if start_s is None else round(start_s * rate)
        if position == 0 or abs(start - position) > _JITTER_S * rate:
            if start > position:
                filled += start - position
                media.check_gap((start - filled) / rate, start / rate)  # all gaps together
                if position or start / rate > max(0.0, media.start_s) + _LATE_S:  # else the sound begins there
                    damaged.append((position / rate, start / rate))
                for gap in range(position, start, round(_SILENCE_S * rate)):
                    out.add(np.zeros((channels, min(start - gap, round(_SILENCE_S * rate))), np.float32))
            elif position:  # two packets for one time
                damaged.append((start / rate, position / rate))
            samples_CS = samples_CS[:, max(0, position - start) :]
            position = max(position, start)
        if not np.isfinite(samples_CS).all():
            damaged.append((position / rate, (position + samples_CS.shape[1]) / rate))
            samples_CS = np.nan_to_num(samples_CS, nan=0.0, posinf=0.0, neginf=0.0)
        out.add(samples_CS)
        dropouts.add(samples_CS, position)
        position += samples_CS.shape[1]
        if position > limit_s * rate:
            break
    if still is not None:
        still += dropouts.finish()
    return out.finish(), damaged


def _frames(media: Media, damaged: list[Span]) -> Any:
    end = 0.0
    for packet in media.packets():
        try:
            for frame in packet.decode():
                yield frame
                begin, end = end, (media.seconds(frame.pts) or end) + frame.samples / frame.sample_rate
                if media.is_damaged(packet):
                    damaged.append((begin, end))
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


class _Resampled:
    """Takes samples piece by piece, so that only those at the target rate stay in memory."""

    def __init__(self, channels: int, rate: int, target: int) -> None:
        self._layout, self._rate, self._taken = _LAYOUTS[channels], rate, 0
        self._pieces: list[Samples] = [np.zeros((channels, 0), np.float32)]
        same = rate == target
        self._resampler: Any = None if same else av.AudioResampler(format="fltp", layout=self._layout, rate=target)

    def add(self, samples_CS: Samples) -> None:
        if self._resampler is None:
            self._pieces.append(samples_CS)
        elif samples_CS.shape[1]:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples_CS), format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._taken, Fraction(1, self._rate)
            self._taken += samples_CS.shape[1]
            self._pieces += [piece.to_ndarray() for piece in self._resampler.resample(frame)]

    def finish(self) -> Samples:
        if self._taken:
            self._pieces += [piece.to_ndarray() for piece in self._resampler.resample(None)]
        return np.concatenate(self._pieces, axis=1)
