"""Decoding a recording's video onto a fixed frame grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from avsa.clips.ledger import RefusedError
from avsa.clips.probe import Media, Span

_GAP_S = 1.0  # a longer silence of the video stream is damage, not a variable frame rate


class Reel:
    """The frames of a video at n / fps seconds: of the frames around that time the nearer one.

    While it is iterated, `times_s` collects when the video's own frames are shown, `end_s` grows to the end of the last
    one, and `damaged` collects the spans (seconds) of packets that could not be decoded or were missing. Frames that
    refer to a damaged one are reported as not intact.
    """

    def __init__(self, media: Media, fps: float) -> None:
        self.media, self.fps = media, fps
        self.step_s = 1 / float(media.stream.average_rate or media.stream.guessed_rate or fps)
        self.end_s = 0.0
        self.times_s: list[float] = []
        self.damaged: list[Span] = []

    def __iter__(self) -> Iterator[tuple[int, Any, bool]]:
        """Yields (frame number on the grid, frame, intact); numbers grow and skip what falls into a gap."""
        number, last, last_s, last_intact = 0, None, 0.0, True
        for time_s, frame, intact in self._decoded():
            if last is not None:
                until_s = (last_s + time_s) / 2
                gap = time_s - last_s > _GAP_S
                if gap:
                    self.media.check_gap(last_s, time_s)
                    until_s = last_s + self.step_s
                    self.damaged.append((until_s, time_s))
                while number / self.fps <= until_s:
                    yield number, last, last_intact
                    number += 1
                if gap:
                    number = max(number, int(time_s * self.fps))
            last, last_s, last_intact = frame, time_s, intact
        while last is not None and number / self.fps < self.end_s - 1e-6:
            yield number, last, last_intact
            number += 1

    def _decoded(self) -> Iterator[tuple[float, Any, bool]]:
        broken = False  # until the next key frame
        for packet in self.media.packets():
            if packet.is_keyframe:
                broken = False
            bad, frames = self.media.is_damaged(packet), []
            try:
                frames = self.media.decode(packet)
            except av.error.FFmpegError:
                bad = True
            if bad:
                broken, at_s = True, self.media.seconds(packet.pts)
                at_s = self.end_s if at_s is None else at_s
                self.damaged.append((at_s, at_s + self.step_s))
            for frame in frames:
                broken = broken or frame.is_corrupt
                time_s = self.media.seconds(frame.pts)
                if time_s is None:
                    time_s = self.end_s
                if time_s + self.step_s <= self.end_s:  # out of order: shown already
                    continue
                if frame.rotation:
                    reason = f"its metadata turns the picture by {frame.rotation}°: no panorama is stored so"
                    raise RefusedError("rotation", reason, frame.rotation, 0)
                self.end_s = max(self.end_s, time_s + self.step_s)
                self.times_s.append(time_s)
                yield time_s, frame, not broken
