"""The obvious way to load a sample from a recording as it is downloaded: what the clip store is measured against.

PyAV decodes from the key frame before the wanted moment, every frame is converted to RGB, NumPy samples the crops frame
by frame, and every channel of every crop's sound gets a spectrogram of its own.

Shapes: K crops, T frames, H×W pixels, C channels, S samples, M mel bins.
"""

import math
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from avsa.config import Audio, Views

Array = npt.NDArray[np.floating]


class ReferenceLoader:
    """Samples of recordings: (`video_KTHWC`, `audio_KCTM`), both float32."""

    def __init__(self, views: Views, audio: Audio, fps: float, sample_rate: int, seed: int = 0) -> None:
        self.views, self.audio, self.fps, self.sample_rate = views, audio, fps, sample_rate
        self.rng = np.random.default_rng(seed)
        self.window = np.hanning(audio.window + 1)[:-1]
        self.mel_MF = mel_filters(audio.mels, audio.window, sample_rate)

    def __call__(self, video: Path, sound: Path, duration_s: float) -> tuple[Array, Array]:
        """One sample at a random moment with random crops."""
        margin = max(self.views.audio_s, self.views.frames / self.fps) / 2
        centre_s = self.rng.uniform(margin, duration_s - margin)
        frames_THWC = self.read_frames(video, centre_s - self.views.frames / self.fps / 2)
        foa_CS = self.read_sound(sound, centre_s - self.views.audio_s / 2)
        crops, features = [], []
        for _ in range(self.views.crops):
            azimuth = self.rng.uniform(-math.pi, math.pi)
            elevation = math.asin(self.rng.uniform(-1, 1) * math.sin(math.radians(self.views.max_elevation_deg)))
            fov = math.radians(self.rng.uniform(*self.views.fov_deg))
            crops.append(self.crop(frames_THWC, azimuth, elevation, fov))
            turned_CS = turn(foa_CS, azimuth, elevation)
            features.append(np.stack([self.spectrogram(channel_S) for channel_S in turned_CS]))
        video_KTHWC = np.stack(crops).astype(np.float32) / 255
        return video_KTHWC, np.stack(features).astype(np.float32)

    def read_frames(self, path: Path, start_s: float) -> npt.NDArray[np.uint8]:
        """RGB frames T×H×W×3 at the training rate."""
        wanted = [start_s + t / self.fps for t in range(self.views.frames)]
        frames: list[npt.NDArray[np.uint8]] = []
        with av.open(str(path), mode="r") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            assert stream.time_base is not None
            assert stream.average_rate is not None
            half_frame = 0.5 / float(stream.average_rate)
            container.seek(max(0, int(start_s / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                while len(frames) < len(wanted) and frame.time + half_frame >= wanted[len(frames)]:
                    frames.append(image)
                if len(frames) == len(wanted):
                    break
        return np.stack(frames)

    def read_sound(self, path: Path, start_s: float) -> Array:
        """C×S samples."""
        samples = round(self.views.audio_s * self.sample_rate)
        start = round(start_s * self.sample_rate)
        blocks: list[Array] = []
        first = 0
        with av.open(str(path), mode="r") as container:
            stream = container.streams.audio[0]
            assert stream.time_base is not None
            container.seek(max(0, int(start_s / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                begin = round((frame.time or 0) * self.sample_rate)
                if begin + frame.samples <= start:
                    continue
                if not blocks:
                    first = begin
                blocks.append(frame.to_ndarray().astype(np.float32, copy=False))
                if begin + frame.samples >= start + samples:
                    break
        foa_CS: Array = np.concatenate(blocks, axis=1)[:, max(0, start - first) :][:, :samples]
        return foa_CS

    def crop(self, frames_THWC: npt.NDArray[np.uint8], azimuth: float, elevation: float, fov: float) -> Array:
        """Gnomonic projection with bilinear interpolation, T×H×W×3."""
        size, (H, W) = self.views.size, frames_THWC.shape[1:3]
        across = math.tan(fov / 2) * (1 - 2 * (np.arange(size) + 0.5) / size)
        left, up = np.meshgrid(across, across)
        x = math.cos(elevation) - up * math.sin(elevation)
        z = math.sin(elevation) + up * math.cos(elevation)
        phi = np.arctan2(left, x) + azimuth
        theta = np.arctan2(z, np.hypot(x, left))
        u = (0.5 - phi / (2 * math.pi)) % 1 * W - 0.5
        v = (0.5 - theta / math.pi) * H - 0.5
        column, row = np.floor(u).astype(int), np.floor(v).astype(int)
        right, low = (u - column)[..., None], (v - row)[..., None]
        columns = column % W, (column + 1) % W
        rows = np.clip(row, 0, H - 1), np.clip(row + 1, 0, H - 1)
        crops = [
            (1 - low) * ((1 - right) * image[rows[0], columns[0]] + right * image[rows[0], columns[1]])
            + low * ((1 - right) * image[rows[1], columns[0]] + right * image[rows[1], columns[1]])
            for image in frames_THWC
        ]
        return np.stack(crops)

    def spectrogram(self, channel_S: Array) -> Array:
        """Log power in mel bands, T×M."""
        padded = np.pad(channel_S, self.audio.window // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.audio.window)[:: self.audio.hop]
        frames = frames[: len(channel_S) // self.audio.hop]
        power = np.abs(np.fft.rfft(frames * self.window)) ** 2
        log_mel: Array = 10 * np.log10(np.maximum(power @ self.mel_MF.T, 1e-10))
        return log_mel


def turn(foa_CS: Array, azimuth: float, elevation: float) -> Array:
    """Ambisonics W, Y, Z, X turned so that the direction lies ahead."""
    w, y, z, x = foa_CS
    ahead, y = math.cos(azimuth) * x + math.sin(azimuth) * y, math.cos(azimuth) * y - math.sin(azimuth) * x
    x = math.cos(elevation) * ahead + math.sin(elevation) * z
    z = math.cos(elevation) * z - math.sin(elevation) * ahead
    return np.stack((w, y, z, x))


def mel_filters(mels: int, window: int, sample_rate: int) -> Array:
    """Triangles that are evenly spaced on the HTK mel scale, M×F."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(window, 1 / sample_rate)
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    filters: Array = np.maximum(0, np.minimum(rising, falling))
    return filters
