import io
from fractions import Fraction

import av
import numpy as np
import pytest
from data_clips import FPS, RATE, all_frames, all_samples, encode_mp4, moving_picture, planes, sound_field

from avsa.clips.transcode import encode_flac
from avsa.data.decode import decode_audio, decode_video
from avsa.data.flac import _checksum, find_frames


@pytest.fixture(scope="module")
def mp4() -> bytes:
    return encode_mp4(moving_picture(3, 21))


@pytest.fixture(scope="module")
def flac() -> bytes:
    return encode_flac(sound_field(4, 20000).astype(np.float32), RATE)


@pytest.mark.parametrize(
    ("first", "frames"), [(0, 1), (0, 21), (3, 1), (3, 2), (4, 4), (7, 8), (8, 3), (17, 4), (20, 1)]
)
def test_windows_are_the_frames_of_a_full_decode(mp4: bytes, first: int, frames: int) -> None:
    decoded = decode_video(mp4, first, frames)
    for t, frame in enumerate(all_frames(mp4)[first : first + frames]):
        y, uv = planes(frame)
        np.testing.assert_array_equal(decoded.y_THW[t], y)
        np.testing.assert_array_equal(decoded.uv_T2hw[t], uv)


def test_decoders_are_shared_by_clips_of_one_form_and_keep_nothing_of_the_last() -> None:
    clips = [encode_mp4(moving_picture(seed, 9)) for seed in (0, 1)]
    for clip in (*clips, *clips):
        decoded = decode_video(clip, 5, 3)
        np.testing.assert_array_equal(decoded.y_THW[2], planes(all_frames(clip)[7])[0])


def test_frames_go_where_they_are_told(mp4: bytes) -> None:
    y, uv = np.zeros((2, 64, 128), np.uint8), np.zeros((2, 2, 32, 64), np.uint8)
    decode_video(mp4, 6, 2, out=(y, uv))
    np.testing.assert_array_equal(y[1], planes(all_frames(mp4)[7])[0])
    with pytest.raises(ValueError, match=r"128×64 pixels where 128×32"):
        decode_video(mp4, 6, 2, out=(y[:, :32], uv[:, :, :16]))


@pytest.mark.parametrize(("first", "frames"), [(-1, 2), (20, 2), (21, 1)])
def test_frames_outside_the_clip(mp4: bytes, first: int, frames: int) -> None:
    with pytest.raises(ValueError, match="the clip has 21"):
        decode_video(mp4, first, frames)


@pytest.mark.parametrize("kept", [0, 6, 100, 3000, 0.5, 0.98])
def test_a_truncated_video_is_an_error(mp4: bytes, kept: float) -> None:
    data = mp4[: int(kept if kept >= 1 or kept == 0 else kept * len(mp4))]
    with pytest.raises(ValueError, match="MP4"):
        decode_video(data, 12, 4)


def test_a_damaged_picture_is_an_error_and_does_not_spoil_the_next_clip(mp4: bytes) -> None:
    damaged = bytearray(mp4)
    damaged[1000:20000:50] = bytes(x ^ 0x55 for x in damaged[1000:20000:50])
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_video(bytes(damaged), 0, 21)
    np.testing.assert_array_equal(decode_video(mp4, 2, 1).y_THW[0], planes(all_frames(mp4)[2])[0])


def test_reordered_frames_are_refused() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "2", "b-adapt": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for picture in moving_picture(0, 8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="B-frames"):
        decode_video(buffer.getvalue(), 0, 1)


@pytest.mark.parametrize(
    ("start", "samples"), [(0, 1), (0, 20000), (575, 2), (576, 576), (1000, 8000), (12001, 7999), (19999, 1)]
)
def test_windows_are_the_samples_of_a_full_decode(flac: bytes, start: int, samples: int) -> None:
    decoded = decode_audio(flac, start, samples)
    np.testing.assert_array_equal(decoded, all_samples(flac)[:, start : start + samples].astype(np.float32))


def flac_of(rate: int, samples: int, level: int, sample_format: str = "s16") -> tuple[bytes, np.ndarray]:
    bits = 16 if sample_format == "s16" else 24
    values = np.round(sound_field(7, samples) * 2 ** (bits - 1)).astype(np.int32) << (0 if bits == 16 else 8)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="quad", options={"compression_level": str(level)})
        stream.codec_context.format = sample_format
        packed = values.T.astype(np.int16 if bits == 16 else np.int32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=sample_format, layout="quad")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue(), values / (2.0**15 if bits == 16 else 2.0**31)


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 48000, 12345])
@pytest.mark.parametrize("sample_format", ["s16", "s32"])
def test_every_way_of_writing_the_frame_header(rate: int, sample_format: str) -> None:
    """Rates and lengths with and without a code of their own, frame numbers of one and two bytes, 16 and 24 bits."""
    data, expected = flac_of(rate, 40 * rate // 8, level=0, sample_format=sample_format)
    frame = int.from_bytes(data[8:10])
    last_of_one_byte = 127 * frame
    for start in (0, frame - 1, last_of_one_byte, expected.shape[1] - 1000):
        samples = min(1000, expected.shape[1] - start)
        if samples > 0:
            np.testing.assert_allclose(
                decode_audio(data, start, samples), expected[:, start : start + samples], atol=1e-7, rtol=0
            )


def test_header_checksum() -> None:
    assert _checksum(b"123456789") == 0xF4  # the check value of CRC-8 in catalogues of checksums


def test_only_the_frames_needed_are_taken(flac: bytes) -> None:
    found = find_frames(flac, 6000, 6100)
    assert found.first_sample <= 6000
    assert len(found.payload) < len(flac) / 15


@pytest.mark.parametrize(("start", "samples"), [(-1, 10), (19995, 6), (20000, 1)])
def test_samples_outside_the_clip(flac: bytes, start: int, samples: int) -> None:
    with pytest.raises(ValueError, match=r"starts at 0|has 20000 samples"):
        decode_audio(flac, start, samples)


@pytest.mark.parametrize("kept", [0, 3, 20, 500, 0.6])
def test_a_truncated_sound_is_an_error(flac: bytes, kept: float) -> None:
    data = flac[: int(kept if kept >= 1 or kept == 0 else kept * len(flac))]
    with pytest.raises(ValueError, match=r"FLAC|cannot be decoded"):
        decode_audio(data, 15000, 1000)


def test_damaged_sound_is_an_error(flac: bytes) -> None:
    found = find_frames(flac, 6000, 6100)
    place = flac.find(found.payload) + 200
    damaged = flac[:place] + bytes([flac[place] ^ 1]) + flac[place + 1 :]
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_audio(damaged, 6000, 100)
