"""The published normalisation statistics in our form."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_clips import Floats

from avsa import config
from avsa.data.batch import Batch
from avsa.data.released import released_statistics
from avsa.data.statistics import Statistics, feature_settings
from avsa.data.views import Views
from avsa.errors import UserError

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))


def written(path: Path, mean_M: Floats, std_M: Floats) -> Path:
    np.savez(path, mean=mean_M, std=std_M)
    return path


def test_every_channel_is_normalised_as_published(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mean_M, std_M = rng.normal(-30, 5, 128).astype(np.float32), rng.uniform(5, 25, 128).astype(np.float32)
    std_M[3] = 0  # an empty filter is divided by what the published code adds
    statistics = released_statistics(written(tmp_path / "published.npz", mean_M, std_M))
    statistics.save(tmp_path / "ours.npz")
    statistics = Statistics.load(tmp_path / "ours.npz")
    audio = config.Audio(scale="released")
    assert statistics.settings == feature_settings(config.Views(), audio, 24000)

    foa_NCS = torch.from_numpy(rng.normal(0, 0.1, (1, 4, 24000)).astype(np.float32))
    empty, angle_NK = torch.empty(0), torch.tensor([[0.4, -2.0]])
    batch = Batch(
        y_NTHW=empty, uv_NT2hw=empty, rgb_N34=empty, foa_NCS=foa_NCS, azimuth_NK=angle_NK, elevation_NK=angle_NK / 4,
        fov_NK=angle_NK, aspect_NK=angle_NK, mirror_NK=angle_NK > 0, jitter_NK4=empty, gain_N=torch.ones(1),
        clip_N=empty, source_N=empty, moment_N=empty, ids=["a"],
    )  # fmt: skip
    views = config.Views(rule="released")
    levels_NKCTM = Views(views, audio, 24000).audio(batch).double().numpy()
    normalised_NKCTM = Views(views, audio, 24000, statistics).audio(batch).double().numpy()
    expected = (levels_NKCTM - mean_M) / (std_M + np.float32(1e-5))
    assert normalised_NKCTM.shape == (1, 2, 4, 100, 128)
    np.testing.assert_allclose(np.delete(normalised_NKCTM, 3, -1), np.delete(expected, 3, -1), atol=1e-4)
    np.testing.assert_allclose(normalised_NKCTM[..., 3], expected[..., 3], rtol=1e-4)


def test_the_published_file(tmp_path: Path) -> None:
    path = SHARED / "released" / "MelSpectDB-24khz-257fft-128mels-norm-stats.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    statistics = released_statistics(path)
    with np.load(path) as arrays:
        for channel in range(4):
            assert np.array_equal(statistics.mean_CM[channel], arrays["mean"])
            assert np.array_equal(statistics.std_CM[channel], arrays["std"] + 1e-5)
    assert statistics.mean_CM.dtype == statistics.std_CM.dtype == np.float32


def test_other_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope.npz: no such file"):
        released_statistics(tmp_path / "nope.npz")
    ones_M = np.ones(128, dtype=np.float32)
    with pytest.raises(UserError, match=r"mean and std of 128 mel bins are expected, found \(64,\), \(128,\)"):
        released_statistics(written(tmp_path / "short.npz", ones_M[:64], ones_M))
    whole = written(tmp_path / "whole.npz", ones_M, ones_M).read_bytes()
    Statistics(ones_M[None], ones_M[None]).save(tmp_path / "ours.npz")
    np.savez(tmp_path / "pickled.npz", mean=np.array([{}]), std=ones_M)
    for name, content in (
        ("half", whole[:300]),
        ("empty", b""),
        ("text", b"a text"),
        ("ours", None),
        ("pickled", None),
    ):
        path = tmp_path / f"{name}.npz"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npz is not a file of published statistics") as raised:
            released_statistics(path)
        assert "\n" not in str(raised.value)
