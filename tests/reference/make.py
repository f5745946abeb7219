"""Makes the reference arrays beside this file with implementations that are not ours. Run by hand, not by the tests:

    python3.11 -m venv /tmp/reference
    /tmp/reference/bin/pip install av==18.1.0 librosa==0.11.0 numpy==2.4.6 py360convert==1.0.4 scipy==1.16.3 \
        spaudiopy==0.2.0
    /tmp/reference/bin/python tests/reference/make.py

- crops.npz: a smooth panorama (H, W, 3) and its perspective crops (K, size, size, 3) by py360convert and by FFmpeg's
  v360 filter (in PyAV's FFmpeg), at centres and horizontal fields of view in degrees;
- harmonics.npz: spaudiopy's real spherical harmonics, as ACN/SN3D, at directions in radians, before and after SciPy has
  turned the direction (azimuth, elevation) of the same row straight ahead;
- mel.npz: four signals (16-bit) and librosa's log-mel spectrograms of them.

The packages are no dependency of the project.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
Bytes = npt.NDArray[np.uint8]
SIZE = 48


def smooth_panorama(height: int = 128, width: int = 256) -> Bytes:
    """Low-order polynomials of the viewing direction: nothing special happens at the seam or at the poles."""
    azimuth = np.pi * (1 - 2 * (np.arange(width) + 0.5) / width)
    elevation = np.pi / 2 * (1 - 2 * (np.arange(height)[:, None] + 0.5) / height)
    x, y, z = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation) + 0 * azimuth
    channels = (0.6 * y + 0.3 * x * z, 0.6 * z + 0.3 * x * y, 0.6 * x + 0.3 * y * z)
    return np.stack([np.round(127.5 + 120 * c) for c in channels], axis=-1).astype(np.uint8)


def make_crops() -> None:
    import py360convert  # type: ignore[import-not-found]

    panorama = smooth_panorama()
    places = [(0, 0, 90), (90, 0, 60), (-120, 40, 75), (180, -30, 90), (30, 75, 80), (-45, -88, 90)]
    others = [
        # py360convert's azimuth is positive to the right.
        py360convert.e2p(panorama, (fov, fov), -azimuth, elevation, (SIZE, SIZE), mode="bilinear")
        for azimuth, elevation, fov in places
    ]
    azimuth_deg, elevation_deg, fov_deg = np.array(places, dtype=np.float64).T
    np.savez_compressed(
        HERE / "crops.npz",
        panorama=panorama,
        azimuth_deg=azimuth_deg,
        elevation_deg=elevation_deg,
        fov_deg=fov_deg,
        size=SIZE,
        py360convert=np.stack(others),
        ffmpeg=np.stack([v360(panorama, *place) for place in places]),
    )


def v360(panorama: Bytes, azimuth: int, elevation: int, fov: int) -> Bytes:
    import av

    frame = av.VideoFrame.from_ndarray(panorama, format="rgb24").reformat(format="gbrp")
    graph: Any = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=1)
    options = f"e:flat:h_fov={fov}:v_fov={fov}:yaw={-azimuth}:pitch={elevation}:w={SIZE}:h={SIZE}:interp=linear"
    turn = graph.add("v360", options)
    sink = graph.add("buffersink")
    source.link_to(turn)
    turn.link_to(sink)
    graph.configure()
    frame.pts = 0
    graph.push(frame)
    return np.asarray(graph.pull().to_ndarray(format="rgb24"))


def make_harmonics() -> None:
    import spaudiopy  # type: ignore[import-not-found]
    from scipy.spatial.transform import Rotation

    generator = np.random.default_rng(0)
    azimuth, towards_azimuth = generator.uniform(-np.pi, np.pi, (2, 40))
    elevation, towards_elevation = generator.uniform(-np.pi / 2, np.pi / 2, (2, 40))

    def harmonics(azimuth: Any, elevation: Any) -> Any:
        orthonormal = spaudiopy.sph.sh_matrix(1, azimuth, np.pi / 2 - elevation, sh_type="real")
        return orthonormal * np.sqrt(4 * np.pi) / np.sqrt([1, 3, 3, 3])

    xyz = np.stack(spaudiopy.utils.sph2cart(azimuth, np.pi / 2 - elevation), axis=-1)
    # Extrinsic: first about z by −azimuth, then about y by +elevation (a right-handed turn about y lowers x).
    turned = Rotation.from_euler("zy", np.stack((-towards_azimuth, towards_elevation), axis=-1)).apply(xyz)
    turned_azimuth, turned_zenith, _ = spaudiopy.utils.cart2sph(*turned.T)
    np.savez_compressed(
        HERE / "harmonics.npz",
        azimuth=azimuth,
        elevation=elevation,
        harmonics=harmonics(azimuth, elevation),
        towards_azimuth=towards_azimuth,
        towards_elevation=towards_elevation,
        turned_harmonics=harmonics(turned_azimuth, np.pi / 2 - turned_zenith),
    )


def make_mel() -> None:
    import librosa  # type: ignore[import-not-found]

    time = np.arange(4800) / 24000
    generator = np.random.default_rng(1)
    signals = np.stack(
        [
            0.4 * np.sin(2 * np.pi * (200 * time + 20000 * time**2)),
            0.3 * generator.standard_normal(4800),
            np.where(time < 0.1, 0, 0.9 * np.sin(2 * np.pi * 3000 * time)),  # starts with digital silence
            0.01 * np.sign(np.sin(2 * np.pi * 123 * time)),
        ]
    )
    signals_16bit = np.round(signals.clip(-1, 1) * 32767).astype(np.int16)
    settings: Any = {"sr": 24000, "n_fft": 512, "hop_length": 240, "n_mels": 128, "fmin": 0.0, "fmax": 12000.0}
    waves = signals_16bit.astype(np.float64) / 32768
    magnitude = librosa.feature.melspectrogram(y=waves, power=1, norm="slaney", htk=False, **settings)
    power = librosa.feature.melspectrogram(y=waves, power=2, norm="slaney", htk=False, **settings)
    # Channel by channel: the range below the maximum is each channel's own.
    released = [librosa.power_to_db(channel, top_db=100) for channel in magnitude]
    np.savez_compressed(
        HERE / "mel.npz",
        signals_16bit=signals_16bit,
        released_CMT=np.stack(released).astype(np.float32),
        power_CMT=power.astype(np.float32),
    )


if __name__ == "__main__":
    make_crops()
    make_harmonics()
    make_mel()
