"""The bytes of a clip's members: key frames where random access needs them, colours and samples as they were."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from clips_media import RATE, Array, decode_flac, decode_mp4, field, panorama

from avsa.clips.transcode import VideoEncoder, encode_flac, fit
from avsa.config import Clips

CONFIG = Clips(height=64, gop=5, crf=20, fps=12.5)


def encode(frames_THWC: Array, config: Clips) -> bytes:
    encoder = VideoEncoder(config)
    for image in frames_THWC:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pict_type = PictureType.I  # as frames come from a source's key frames
        encoder.add(fit(frame, config.height))
    return encoder.finish()


def test_key_frames_and_times() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (23, 64, 128, 3)).astype(np.uint8)  # every frame is a scene cut
    payload = encode(noise, CONFIG)
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        assert not stream.codec_context.has_b_frames
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [packet.is_keyframe for packet in packets] == [number % 5 == 0 for number in range(23)]
    assert [packet.pts * packet.time_base for packet in packets] == [Fraction(number * 2, 25) for number in range(23)]
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]


def test_groups_are_closed() -> None:
    """Decoding from any key frame gives the frames of decoding from the start."""
    payload = encode(panorama(20), CONFIG)
    whole = decode_mp4(payload)
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        stream = container.streams.video[0]
        for start in (5, 10, 15):
            container.seek(round(start / 12.5 / stream.time_base), stream=stream)
            first = next(container.decode(stream))
            assert round(first.time * 12.5) == start
            assert np.array_equal(first.to_ndarray()[:64], whole[start])


def test_the_same_frames_give_the_same_bytes() -> None:
    assert encode(panorama(12), CONFIG) == encode(panorama(12), CONFIG)
    assert encode_flac(field(1), RATE) == encode_flac(field(1), RATE)


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True), (5, True)])
@pytest.mark.parametrize("height", [64, 32])
def test_colours(matrix: int, full: bool, height: int) -> None:
    """BT.709 (1) and BT.601 (5), limited and full range: the colours come out as they went in."""
    colours = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (250, 250, 250)], np.uint8)
    image = np.repeat(np.repeat(colours[None], 64, axis=0), 32, axis=1)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuvj420p" if full else "yuv420p", dst_colorspace=matrix, dst_color_range=2 if full else 1
    )
    encoder = VideoEncoder(Clips(height=height, crf=4))
    encoder.add(fit(frame, height))
    container: Any
    with av.open(io.BytesIO(encoder.finish())) as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgb24")
    middles = found[height // 2, height // 4 :: height // 2].astype(int)
    assert np.abs(middles - colours).max() <= 4


def test_samples_keep_their_channel_and_place() -> None:
    foa = field(1.3)
    foa = np.clip(foa, -0.99, 0.99)
    stored = decode_flac(encode_flac(foa, RATE))
    assert stored.shape == foa.shape
    assert np.abs(stored - foa).max() <= 0.5 / 32768 + 1e-6


def test_nothing_that_looks_at_memory_around_the_frame() -> None:
    """Macroblock trees and lookahead made other bytes of the same pictures now and then; x264 says what it used."""
    mp4 = encode(panorama(8), CONFIG)
    assert b" mbtree=0 " in mp4
    assert b" rc_lookahead=" not in mp4 or b" rc_lookahead=0 " in mp4
    assert b" threads=1 " in mp4
    assert b" bframes=0 " in mp4
