from pathlib import Path

import numpy as np
import pytest
import torch
from data_clips import RATE, ordinary_clip, write_store

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data.loader import ClipLoader
from avsa.data.statistics import RunningMoments, Statistics, compute_statistics
from avsa.data.views import Views
from avsa.errors import UserError

VIEWS = config.Views(size=8, frames=3, audio_s=0.5, mirror=0.0, gain_jitter=0.0)
AUDIO = config.Audio(kind="ambisonics+intensity", mels=24, window=256, hop=160)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i) for i in range(6)])


def test_one_pass_equals_two() -> None:
    """Unequal parts, and a mean that is a million times the deviation."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, (3, 1, 5))
    values = rng.normal(size=(23, 3, 7, 5)) * scale + 1e6 * rng.normal(size=(3, 1, 5))
    moments = RunningMoments()
    for part in np.split(values, [1, 2, 9, 22]):
        moments.add(torch.from_numpy(part))
    mean = values.mean((0, 2))
    std = np.sqrt(((values - mean[:, None]) ** 2).mean((0, 2)))
    np.testing.assert_allclose(moments.mean_CM, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.statistics().std_CM, std, rtol=1e-6)


def test_a_constant_bin_is_not_scaled() -> None:
    moments = RunningMoments()
    moments.add(torch.full((2, 1, 4, 1), -100.0))
    assert moments.statistics().std_CM == 1
    assert moments.statistics().mean_CM == -100


def test_statistics_are_those_of_the_views(store: ClipStore, tmp_path: Path) -> None:
    """What the loader's first epoch of all clips gives, by NumPy; normalised with it: mean 0, deviation 1."""
    statistics = compute_statistics(store, VIEWS, AUDIO, 3, tmp_path / "statistics.npz", progress=False)
    batch = next(ClipLoader(store, VIEWS, batch=6, seed=3, shuffle=False).epoch(0))
    features = Views(VIEWS, AUDIO, RATE).audio(batch).double().numpy()
    np.testing.assert_allclose(statistics.mean_CM, features.mean((0, 1, 3)), atol=1e-4)
    np.testing.assert_allclose(statistics.std_CM, features.std((0, 1, 3)), rtol=1e-5)
    normalised = Views(VIEWS, AUDIO, RATE, Statistics.load(tmp_path / "statistics.npz")).audio(batch)
    torch.testing.assert_close(normalised.mean((0, 1, 3)), torch.zeros(7, 24), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.std((0, 1, 3), correction=0), torch.ones(7, 24), atol=1e-4, rtol=0)


def test_fewer_clips_on_request_and_the_same_ones_again(store: ClipStore, tmp_path: Path) -> None:
    some, again, others, every = (
        compute_statistics(
            store, VIEWS, AUDIO.model_copy(update={"statistics_clips": clips}), seed, tmp_path / "s.npz", progress=False
        ).mean_CM
        for seed, clips in ((0, 3), (0, 3), (1, 3), (0, 100))
    )
    np.testing.assert_array_equal(some, again)
    assert not np.array_equal(some, others)
    assert not np.array_equal(some, every)


def test_training_augmentation_does_not_enter(store: ClipStore, tmp_path: Path) -> None:
    augmented = config.Views(size=8, frames=3, audio_s=0.5, mirror=1.0, gain_jitter=1.0)
    plain = compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / "s.npz", progress=False)
    np.testing.assert_array_equal(
        compute_statistics(store, augmented, AUDIO, 0, tmp_path / "s.npz", progress=False).mean_CM, plain.mean_CM
    )


def test_file_errors_are_one_line(tmp_path: Path) -> None:
    statistics = Statistics(np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32))
    with pytest.raises(UserError, match=r"missing; run the statistics stage"):
        Statistics.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_text("no arrays")
    with pytest.raises(UserError, match="is not a file of feature statistics"):
        Statistics.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(UserError, match="is not a file of feature statistics"):
        Statistics.load(tmp_path / "other.npz")
    statistics.save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    for size in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut.npz is not a file of feature statistics") as raised:
            Statistics.load(tmp_path / "cut.npz")
        assert "\n" not in str(raised.value)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="is not a file of feature statistics"):
        Statistics.load(tmp_path / "array.npz")
    with pytest.raises(UserError, match="cannot write"):
        statistics.save(tmp_path / "bad.npz" / "statistics.npz")


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "statistics.npz"
    old = Statistics(np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32))
    old.save(path)
    before = path.read_bytes()

    def fail(file: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match="No space left on device"):
        Statistics(old.std_CM, old.std_CM).save(path)
    assert path.read_bytes() == before
