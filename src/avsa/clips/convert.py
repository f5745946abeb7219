"""One recording -> its clips, in one small tar with an index beside it.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import av
import numpy as np
from pydantic import BaseModel

from avsa.clips.checks import (
    check_channels,
    check_complete,
    check_frames,
    check_lengths,
    check_picture,
    check_sound,
    check_starts,
    dropped,
)
from avsa.clips.checksums import check_intact
from avsa.clips.clip import Clip
from avsa.clips.dropouts import longest
from avsa.clips.labels import ClipLabels
from avsa.clips.ledger import Refusal, RefusedError
from avsa.clips.picture import Reel
from avsa.clips.picture_figures import PictureFigures
from avsa.clips.probe import Media, Span, open_stream
from avsa.clips.recordings import Recording
from avsa.clips.segments import TAIL_S, Window, needed_s, plan, too_late
from avsa.clips.shard import write_member
from avsa.clips.sound import Samples, decode_sound
from avsa.clips.sound_figures import sound_figures
from avsa.clips.transcode import VideoEncoder, encode_flac, fit
from avsa.clips.truth import cut_truth, read_truth
from avsa.config import Clips


class Piece(BaseModel):
    """A clip in a recording's tar: its manifest line (offsets within that tar) and the bytes it takes there."""

    clip: Clip
    start: int
    end: int


class Index(BaseModel):
    """What became of one recording."""

    pieces: list[Piece] = []
    refused: list[Refusal] = []
    seconds: float = 0.0  # that its conversion took


@dataclass
class _Open:
    """The clip that is being encoded."""

    window: Window
    encoder: VideoEncoder
    picture: PictureFigures = field(default_factory=PictureFigures)
    intact: bool = True

    def add(self, frame: Any) -> None:
        self.encoder.add(frame)
        self.picture.add(frame)


def convert(recording: Recording, config: Clips, tar: Path, index: Path) -> None:
    """Write the recording's clips to `tar` and what became of it to `index`; the index appears last and complete.

    Whatever is wrong with the recording ends in the index's refusals.

    Raises:
        OSError: `tar` or `index` cannot be written; both are then absent.
    """
    partial = tar.with_suffix(f".{uuid4().hex}.part")  # a killed run's worker may still be at work on the same
    begun_s = time.perf_counter()
    try:
        with partial.open("wb") as file:
            result = _Conversion(recording, config, file).run()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(tar)
        result.seconds = time.perf_counter() - begun_s
        write_atomically(index, result.model_dump_json().encode(), sync=False)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, payload: bytes, sync: bool = True) -> None:
    """Write a file so that it is either absent (or what it was) or complete; with `sync` also after a power cut."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with partial.open("wb") as file:
            file.write(payload)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _Conversion:
    def __init__(self, recording: Recording, config: Clips, tar: BinaryIO) -> None:
        self.recording, self.config, self.tar = recording, config, tar
        self.index = Index()
        self.order = config.channel_order if config.channel_order != "auto" else recording.channel_order or "acn-sn3d"
        self.length = max(1, round(config.clip_s * config.fps))  # frames
        self.figures: dict[str, float] = {}  # of the whole recording
        self.still: list[Span] = []  # where its sound stands still

    def run(self) -> Index:
        try:
            self._run()
        except RefusedError as refused:
            self._forget(refused)
        except OSError as error:
            if not isinstance(error, av.error.FFmpegError):  # the disk's, not the recording's
                raise
            self._forget(RefusedError("error", str(error)))
        except Exception as error:  # a damaged file may break anything; the rest must go on
            self._forget(RefusedError("error", f"{type(error).__name__}: {error}"))
        return self.index

    def _forget(self, refused: RefusedError) -> None:
        self.tar.seek(0)
        self.tar.truncate()
        self.index = Index(refused=[refused.entry(self.recording.source)])

    def _run(self) -> None:
        if self.recording.refused is not None:
            self.index.refused.append(self.recording.refused)
            return
        if self.recording.video is None:
            raise RefusedError("video", "sound without a video beside it")
        self.figures["checksum"] = float(check_intact(self.recording))
        video = open_stream(self.recording.video, "video", verified=True)
        try:
            audio = open_stream(self.recording.audio or self.recording.video, "audio", verified=True)
            try:
                sound_CS, damaged = self._sound(video, audio)
            finally:
                audio.close()
            self.truth = read_truth(self.recording.truth)
            self.labels = ClipLabels(self.recording, self.truth, video.end_s, self._refuse)
            self._cut(Reel(video, self.config.fps), video.end_s, sound_CS, damaged)
        finally:
            video.close()

    def _sound(self, video: Media, audio: Media) -> tuple[Samples, list[Span]]:
        order = self.order
        channels = audio.stream.codec_context.channels
        check_channels(channels, 6 if order == "youtube-aac6" else 4)  # before the decoding is paid for
        self.figures["start_offset_s"] = audio.start_s - video.start_s
        check_starts(self.figures["start_offset_s"], self.config.checks)
        if video.end_s and audio.end_s:
            self._check_lengths(video.end_s, audio.end_s)
        needed = needed_s(self.recording.segments, self.config)
        sound_CS, damaged = decode_sound(audio, self.config.sample_rate, needed, self.still)
        decoded_s = sound_CS.shape[1] / self.config.sample_rate
        check_complete("sound", decoded_s, audio.end_s and min(audio.end_s, needed), self.config.checks)
        if order != "acn-sn3d":
            from avsa.ambisonics.foa import to_acn_sn3d  # PyTorch, which the usual case does without

            sound_CS = np.asarray(to_acn_sn3d(sound_CS, order), np.float32)
        peak = float(np.abs(sound_CS).max(initial=0))
        if peak > 1:  # 16 bit would clip; one gain for all channels and clips keeps directions and levels
            sound_CS = sound_CS / np.float32(peak)
            self.figures["gain_db"] = -20 * float(np.log10(peak))
        return sound_CS, damaged

    def _check_lengths(self, video_s: float, audio_s: float) -> None:
        check_lengths(video_s, audio_s, self.config.checks)
        self.figures["duration_gap_s"] = abs(video_s - audio_s)

    def _cut(self, reel: Reel, declared_s: float | None, sound_CS: Samples, damaged: list[Span]) -> None:
        fps, length, sound_s = self.config.fps, self.length, sound_CS.shape[1] / self.config.sample_rate
        planned = plan(self.recording.segments, sound_CS, self.config)
        for window in planned.late:
            self._refuse(too_late(window, sound_s, self.config), window.first / fps)
        if not planned.cut:
            return
        coming, now = [*planned.cut], list[_Open]()
        picture, complete, seen = None, True, False
        for number, frame, intact in reel:
            if number >= planned.until:
                complete = False
                break
            seen = True
            while now and number >= now[0].window.first + length:
                self._close(now.pop(0), sound_CS, [*damaged, *reel.damaged], reel.times_s)
            while coming and number >= coming[0].first:
                window = coming.pop(0)
                if number < window.first + length:
                    now.append(_Open(window, VideoEncoder(self.config)))
                else:
                    self._refuse(RefusedError("decode", "the picture is missing"), window.first / fps)
            picture = fit(frame, self.config.height) if now else None
            for one in now:
                one.intact = one.intact and intact and number - one.window.first == one.encoder.frames
                one.add(picture)
        if complete:
            check_complete("picture", reel.end_s, declared_s, self.config.checks)
        if complete and "duration_gap_s" not in self.figures:
            self._check_lengths(reel.end_s, sound_s)
        if not seen:
            raise RefusedError("decode", "no frame can be decoded")
        for one in now:
            if one.encoder.frames + TAIL_S * fps >= length:
                while one.encoder.frames < length:
                    one.add(picture)
            if one.encoder.frames == length or one.window.may_be_short:
                self._close(one, sound_CS, [*damaged, *reel.damaged], reel.times_s)
            else:
                coming.append(one.window)
        for window in coming:
            if window.listed is not None:
                self._refuse(too_late(window, reel.end_s, self.config), window.first / fps)

    def _close(self, now: _Open, sound_CS: Samples, damaged: list[Span], times_s: list[float]) -> None:
        """Check one clip and write it, or its refusal."""
        start_s = now.window.first / self.config.fps
        duration_s = now.encoder.frames / self.config.fps
        mp4 = now.encoder.finish()
        rate, checks = self.config.sample_rate, self.config.checks
        first, samples = round(start_s * rate), round(duration_s * rate)
        clip_CS = sound_CS[:, first : first + samples]
        clip_CS = np.pad(clip_CS, ((0, 0), (0, samples - clip_CS.shape[1])))
        sound, picture = sound_figures(clip_CS, rate), now.picture.figures()
        if still_s := longest(self.still, start_s, start_s + duration_s):
            sound["dropout_s"] = still_s
        end_s = start_s + self.length / self.config.fps
        picture["dropped"] = dropped(times_s, start_s, end_s)
        try:
            bad = [span for span in damaged if span[0] < end_s and span[1] > start_s]
            if bad or not now.intact:
                raise RefusedError("decode", "damaged or missing packets", max(1, len(bad)), 0)
            if duration_s < checks.min_duration_s:
                reason = f"{duration_s:.2f} s is too short for a clip"
                raise RefusedError("duration", reason, duration_s, checks.min_duration_s)
            check_sound(sound, checks)
            check_picture(picture, checks)
            check_frames(picture["dropped"], checks)
        except RefusedError as refused:
            self._refuse(refused, start_s)
            return
        figures = {**self.figures, **sound, **picture}
        self._write(now.window, start_s, now.encoder.frames, mp4, encode_flac(clip_CS, rate), figures)

    def _refuse(self, refused: RefusedError, start_s: float | None) -> None:
        self.index.refused.append(refused.entry(self.recording.source, start_s))

    def _write(
        self, window: Window, start_s: float, frames: int, mp4: bytes, flac: bytes, figures: dict[str, float]
    ) -> None:
        config, recording = self.config, self.recording
        clip_id = f"{recording.name}-{window.name}"
        duration_s = frames / config.fps
        truth = cut_truth(self.truth, start_s, duration_s)
        whence = {"source": recording.source, "start_s": start_s, "duration_s": duration_s}
        if recording.origin:
            whence["origin"] = recording.origin
        if recording.channel_order:
            whence["channel_order"] = self.order
        payloads = {"mp4": mp4, "flac": flac}
        maps, label_fps = self.labels.cut(window, start_s, duration_s)
        if maps is not None:
            payloads["segm.png"] = maps
        payloads["json"] = json.dumps({**truth, **whence}, separators=(",", ":")).encode()
        start = self.tar.tell()
        members = {name: write_member(self.tar, f"{clip_id}.{name}", data) for name, data in payloads.items()}
        clip = Clip(
            id=clip_id,
            source=recording.source,
            split=recording.split,
            origin=recording.origin,
            start_s=start_s,
            duration_s=duration_s,
            width=2 * config.height,
            height=config.height,
            fps=config.fps,
            frames=frames,
            sample_rate=config.sample_rate,
            shard="",
            members=members,
            checks={name: round(figure, 6) for name, figure in figures.items()},
            label_fps=label_fps,
            sha256=hashlib.sha256(b"".join(payloads.values())).hexdigest(),
        )
        self.index.pieces.append(Piece(clip=clip, start=start, end=self.tar.tell()))
