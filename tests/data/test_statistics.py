import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_clips import RATE, ordinary_clip, write_store

from avsa import config
from avsa.clips.store import ClipStore
from avsa.data import measure
from avsa.data.dataset import Failure
from avsa.data.loader import ClipLoader
from avsa.data.moments import Kept, Moments
from avsa.data.statistics import CONSTANT, Statistics, compute_statistics, normalising
from avsa.data.views import Views
from avsa.errors import UserError

VIEWS = config.Views(size=8, frames=3, audio_s=0.5, mirror=0.0, gain_jitter=0.0)
AUDIO = config.Audio(kind="ambisonics+intensity", mels=24, window=256, hop=160)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return write_store(tmp_path_factory.mktemp("store"), [ordinary_clip(i) for i in range(6)])


def test_one_pass_equals_two() -> None:
    """Unequal parts in a tree of merges, and a mean that is a million times the deviation."""
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, (3, 1, 5))
    values = rng.normal(size=(23, 3, 7, 5)) * scale + 1e6 * rng.normal(size=(3, 1, 5))
    one, two, three, four = (Moments.of(torch.from_numpy(part)) for part in np.split(values, [1, 3, 22]))
    moments = Moments().merged(one.merged(two)).merged(three.merged(four))
    mean = values.mean((0, 2))
    std = np.sqrt(((values - mean[:, None]) ** 2).mean((0, 2)))
    assert moments.count == 23 * 7
    np.testing.assert_allclose(moments.mean_CM, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.deviation(), std, rtol=1e-6)


def test_one_pass_equals_two_over_real_features(
    store: ClipStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All features of a store, gathered, in double precision: what is written is that, rounded to single precision."""
    gathered: list[torch.Tensor] = []
    whole = Moments.of

    def gather(features_XCTM: torch.Tensor) -> Moments:
        gathered.append(features_XCTM.double())
        return whole(features_XCTM)

    monkeypatch.setattr(Moments, "of", gather)
    monkeypatch.setattr(measure, "PART", 4)
    found = compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / "s.npz", progress=False)
    features = torch.stack(gathered).numpy()
    mean = features.mean((0, 1, 3))
    std = np.sqrt(((features - mean[:, None]) ** 2).mean((0, 1, 3)))
    assert features.shape[:2] == (6, VIEWS.crops)
    np.testing.assert_allclose(found.mean_CM, mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.std_CM, np.where(std > CONSTANT, std, 1), rtol=1e-6)


def test_a_constant_bin_is_not_scaled() -> None:
    moments = Moments.of(torch.tensor([-100.0, -90.0]).expand(2, 1, 4, 2)).merged(
        Moments.of(torch.tensor([-100.0, -80.0]).expand(2, 1, 4, 2))
    )
    statistics = normalising(moments, "")
    np.testing.assert_array_equal(statistics.mean_CM, [[-100, -85]])
    np.testing.assert_array_equal(statistics.std_CM, [[1, 5]])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_any_number_of_processes_gives_the_same_bytes(
    store: ClipStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "PART", 2)
    for name, processes in (("alone", 1), ("together", 3)):
        compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / name, jobs=processes, progress=False)
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "together").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "together"]


KILLED = """
import os, signal, sys
from pathlib import Path
from avsa import config
from avsa.clips.store import ClipStore
from avsa.data import measure
from avsa.data.dataset import Failure
from avsa.data import measure, statistics
from avsa.data.moments import Kept

save, measure.PART = Kept.save, 1
def save_and_die(kept, parts, moments):
    save(kept, parts, moments)
    if parts == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
Kept.save = save_and_die
views, audio = config.Views.model_validate_json(sys.argv[5]), config.Audio.model_validate_json(sys.argv[6])
store = ClipStore(Path(sys.argv[1]), "train")
statistics.compute_statistics(store, views, audio, 0, Path(sys.argv[2]), jobs=int(sys.argv[3]), progress=False)
"""


def test_a_killed_measurement_continues(store: ClipStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed twice, with different numbers of processes; the rest alone is measured, and the bytes are the same."""
    out = tmp_path / "s.npz"
    for jobs, parts in ((2, 2), (1, 3)):
        settings = (VIEWS.model_dump_json(), AUDIO.model_dump_json())
        command = [sys.executable, "-c", KILLED, str(store.root), str(out), str(jobs), str(parts), *settings]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert [path.name for path in tmp_path.iterdir()] == [".s.npz.partial"]
    monkeypatch.setattr(measure, "PART", 1)
    started = []
    part = measure.ClipMoments.__getitem__

    def note(clips: measure.ClipMoments, number: int) -> Moments | Failure:
        started.append(number)
        return part(clips, number)

    monkeypatch.setattr(measure.ClipMoments, "__getitem__", note)
    compute_statistics(store, VIEWS, AUDIO, 0, out, progress=False)
    assert started == [3, 4, 5]
    compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / "at once", progress=False)
    assert out.read_bytes() == (tmp_path / "at once").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_what_was_kept_of_others_is_not_taken_up(tmp_path: Path) -> None:
    """Other clips, other settings, a damaged file."""
    clips = [ordinary_clip(i) for i in range(3)]
    store, fewer = write_store(tmp_path / "store", clips), write_store(tmp_path / "fewer", clips[:2])

    def key(of: ClipStore, audio: config.Audio = AUDIO, seed: int = 0, views: config.Views = VIEWS) -> str:
        return measure.ClipMoments(of, range(2), views, audio, seed).key()

    others = [
        key(store, AUDIO.model_copy(update={"mels": 32})),
        key(store, seed=1),
        key(store, views=VIEWS.model_copy(update={"crops": 2})),
        measure.ClipMoments(store, [1, 0], VIEWS, AUDIO, 0).key(),
        measure.ClipMoments(store, [0, 2], VIEWS, AUDIO, 0).key(),
    ]
    assert len({key(store), *others}) == 6
    assert key(fewer) == key(store)  # the same clips, at the same place
    moments = Moments(7, np.ones((2, 3)), np.full((2, 3), 0.1))
    Kept(tmp_path / "s.npz", "a").save(4, moments)
    parts, again = Kept(tmp_path / "s.npz", "a").load()
    assert (parts, again.count) == (4, 7)
    np.testing.assert_array_equal(again.squares_CM, moments.squares_CM)
    assert Kept(tmp_path / "s.npz", "b").load()[0] == 0
    whole = (tmp_path / ".s.npz.partial").read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / ".s.npz.partial").write_bytes(whole[:size])
        parts, again = Kept(tmp_path / "s.npz", "a").load()
        assert (parts, again.count) == (0, 0)


def test_a_damaged_clip_is_named_whatever_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PART", 1)
    store = write_store(tmp_path / "store", [ordinary_clip(i) for i in range(3)])
    offset, length = store[1].members["flac"]
    with (tmp_path / "store" / store[1].shard).open("r+b") as shard:
        shard.seek(offset)
        shard.write(bytes(length))
    for jobs in (1, 2):
        with pytest.raises(UserError, match="clip-1"):
            compute_statistics(store, VIEWS, AUDIO, 0, tmp_path / "s.npz", jobs=jobs, progress=False)


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
