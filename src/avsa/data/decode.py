"""Decoding a window of a stored clip, and no more of it than that needs.

Shapes: T frames, H×W luma pixels, h×w = H/2 × W/2 chroma pixels, C = 4 FOA channels, S samples.
"""

from functools import lru_cache
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

from avsa.data.colour import yuv_to_rgb
from avsa.data.flac import find_frames
from avsa.data.mp4 import SampleTable, read_sample_table

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Planes(NamedTuple):
    """Frames as the codec holds them (4:2:0): half the bytes of RGB, and only the crops need converting."""

    y_THW: Bytes
    uv_T2hw: Bytes
    rgb_34: Floats  # (R, G, B) in [0, 1] = rgb_34 · (Y', Cb, Cr, 1)


def decode_video(data: bytes, first_frame: int, frames: int, *, out: tuple[Bytes, Bytes] | None = None) -> Planes:
    """Frames `first_frame` ... `first_frame + frames − 1` of an H.264 MP4 (4:2:0, no B-frames) in memory.

    Decoding starts at the last key frame that is no later than `first_frame` and ends with the last frame needed.

    Args:
        out: arrays (y_THW, uv_T2hw) to fill instead of new ones.

    Raises:
        ValueError: damaged file, frames outside the clip, not 4:2:0, or sizes other than those of `out`.
    """
    table = read_sample_table(data)
    last_frame = first_frame + frames - 1
    if first_frame < 0 or last_frame >= len(table):
        raise ValueError(f"frames {first_frame}-{last_frame} wanted, the clip has {len(table)}")
    if int(table.offset[last_frame] + table.size[last_frame]) > len(data):
        raise ValueError("truncated MP4")
    try:
        pictures = _decode(data, table, first_frame, last_frame)
    except av.FFmpegError as error:
        _video_decoder.cache_clear()
        raise ValueError(f"frames {first_frame}-{last_frame} cannot be decoded ({error})") from error
    if [picture.pts for picture in pictures] != list(range(first_frame, last_frame + 1)):
        raise ValueError(f"frames {first_frame}-{last_frame} cannot be decoded (got {len(pictures)} of {frames})")
    if pictures[0].format.name not in ("yuv420p", "yuvj420p"):
        raise ValueError(f"video has the pixel format {pictures[0].format.name}, not yuv420p")
    return _copy_planes(pictures, out)


def _decode(data: bytes, table: SampleTable, first_frame: int, last_frame: int) -> list[av.VideoFrame]:
    decoder = _video_decoder(table.decoder)
    pictures: list[av.VideoFrame] = []
    key = table.key[np.searchsorted(table.key, first_frame, side="right") - 1]
    try:
        for i in range(key, last_frame + 1):
            packet = av.Packet(data[table.offset[i] : table.offset[i] + table.size[i]])
            packet.pts = i
            pictures += decoder.decode(packet)
        pictures += decoder.decode(None)
    finally:
        decoder.flush_buffers()
    return [picture for picture in pictures if picture.pts is not None and picture.pts >= first_frame]


@lru_cache(maxsize=4)
def _video_decoder(parameter_sets: bytes) -> av.VideoCodecContext:
    # One decoder serves all clips of equal parameter sets: opening one costs as much as decoding a small frame.
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = parameter_sets
    decoder.options = {"err_detect": "explode"}  # an error, not a picture patched up from its neighbours
    decoder.thread_count = 1  # the workers are the parallelism
    decoder.open()
    return decoder


def _copy_planes(pictures: list[av.VideoFrame], out: tuple[Bytes, Bytes] | None) -> Planes:
    T, H, W = len(pictures), pictures[0].height, pictures[0].width
    if H % 2 or W % 2:
        raise ValueError(f"frames of {W}×{H} pixels: width and height must be even")
    y_THW, uv_T2hw = out or (np.empty((T, H, W), np.uint8), np.empty((T, 2, H // 2, W // 2), np.uint8))
    if y_THW.shape != (T, H, W):
        raise ValueError(f"frames of {W}×{H} pixels where {y_THW.shape[2]}×{y_THW.shape[1]} are expected")
    for t, picture in enumerate(pictures):
        for plane, target in zip(picture.planes, (y_THW[t], uv_T2hw[t, 0], uv_T2hw[t, 1]), strict=True):
            lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            target[:] = lines[: target.shape[0], : target.shape[1]]
    return Planes(y_THW, uv_T2hw, yuv_to_rgb(int(pictures[0].colorspace), int(pictures[0].color_range)))


def decode_audio(data: bytes, start_sample: int, samples: int) -> Floats:
    """Samples `start_sample` ... `start_sample + samples − 1` of a FLAC file in memory as `foa_CS`, full scale = 1.

    Raises:
        ValueError: damaged file, or samples outside the clip.
    """
    wanted = f"samples {start_sample}-{start_sample + samples - 1}"
    if start_sample < 0:
        raise ValueError(f"{wanted} wanted, a clip starts at 0")
    found = find_frames(data, start_sample, start_sample + samples)
    decoder = _audio_decoder(found.stream_info)
    try:
        frames = [*decoder.decode(av.Packet(found.payload)), *decoder.decode(None)]
        decoder.flush_buffers()
    except av.FFmpegError as error:
        _audio_decoder.cache_clear()
        raise ValueError(f"{wanted} cannot be decoded ({error})") from error
    audio_SC = np.concatenate([frame.to_ndarray().reshape(frame.samples, -1) for frame in frames])
    skip = start_sample - found.first_sample
    if len(audio_SC) < skip + samples:
        raise ValueError(f"{wanted} cannot be decoded (got {len(audio_SC) - skip})")
    scale = np.float32(1 / 2 ** (8 * audio_SC.itemsize - 1))
    foa_CS: Floats = np.multiply(audio_SC[skip : skip + samples].T, scale, dtype=np.float32)
    return foa_CS


@lru_cache(maxsize=4)
def _audio_decoder(stream_info: bytes) -> av.AudioCodecContext:
    decoder = av.CodecContext.create("flac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = stream_info
    decoder.options = {"err_detect": "crccheck+explode"}
    decoder.thread_count = 1
    decoder.open()
    return decoder
