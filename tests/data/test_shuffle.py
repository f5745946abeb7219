"""The order of training: uniform over the clips, local in the shards, the same for any split of the work."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_clips import ordinary_clip, write_store

from avsa.clips.clip import Clip
from avsa.clips.store import MANIFEST, ClipStore
from avsa.config import Views
from avsa.data.loader import ClipLoader, Steps
from avsa.data.shuffle import Ints, shuffled


def slowly(clips: list[int], shard: list[int], together: int, generator: np.random.Generator) -> list[int]:
    """The definition, one clip at a time."""
    names = sorted(set(shard))
    if len(names) <= together:
        return [clips[i] for i in generator.permutation(len(clips))]
    order = [names[i] for i in generator.permutation(len(names))]
    runs = -(-len(names) // together)
    lengths = [len(names) // runs + (run < len(names) % runs) for run in range(runs)]
    result: list[int] = []
    for length in lengths:
        taken, order = order[:length], order[length:]
        pool = [clip for name in taken for clip, of in zip(clips, shard, strict=True) if of == name]
        result += [pool[i] for i in generator.permutation(len(pool))]
    return result


@pytest.mark.parametrize("together", [1, 2, 3, 7, 8])
def test_the_order_is_the_defined_one(together: int) -> None:
    """Shards of unequal lengths, numbers with gaps, clips that are left out."""
    shard = np.repeat([0, 1, 2, 4, 5, 6, 9], [3, 1, 8, 2, 5, 4, 7])
    clips = np.delete(np.arange(40), [0, 5, 6, 7, 20, 21, 22, 23, 30, 39])
    for seed in range(5):
        fast = shuffled(clips, shard, together, np.random.default_rng(seed))
        assert fast.tolist() == slowly(clips.tolist(), shard.tolist(), together, np.random.default_rng(seed))
        assert sorted(fast.tolist()) == clips.tolist()


def test_few_shards_are_one_permutation_of_all() -> None:
    clips, shard = np.arange(100, 200), np.repeat(np.arange(4), 25)
    expected = np.random.default_rng((3, 1, 0)).permutation(list(range(100, 200)))
    assert np.array_equal(shuffled(clips, shard, 4, np.random.default_rng((3, 1, 0))), expected)


def test_every_clip_is_as_likely_at_every_place() -> None:
    """Pearson's χ² of clips against places; and two clips of different shards meet in a run as often as they should."""
    shards, each, together, passes = 9, 4, 3, 3000
    clips, shard = np.arange(shards * each), np.repeat(np.arange(shards), each)
    orders = np.array([shuffled(clips, shard, together, np.random.default_rng((7, n))) for n in range(passes)])
    N = len(clips)
    counts = np.zeros((N, N))
    np.add.at(counts, (orders, np.arange(N)[None]), 1)
    statistic, freedom = ((counts - passes / N) ** 2 / (passes / N)).sum(), (N - 1) ** 2
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)
    run_of = np.argsort(orders) // (together * each)  # by clip
    met = np.mean(run_of[:, 0] == run_of[:, each])
    assert met == pytest.approx((together - 1) / (shards - 1), abs=5 * np.sqrt(0.25 * 0.75 / passes))


def test_a_stretch_reads_few_shards() -> None:
    clips, shard = np.arange(3300), np.repeat(np.arange(33), 100)
    of = shard[shuffled(clips, shard, 16, np.random.default_rng(0))]
    runs = [set(of[start:end].tolist()) for start, end in pairwise([0, 1100, 2200, 3300])]  # three of 11, not 16, 16, 1
    assert [len(run) for run in runs] == [11, 11, 11]
    assert set.union(*runs) == set(range(33))
    assert all(len(set(of[start : start + 100].tolist())) > 8 for start in (0, 1100, 2200))  # mixed from the first on


def steps(**changes: Any) -> Steps:
    arguments: dict[str, Any] = {
        "seed": 5,
        "repeats": 2,
        "shuffle": True,
        "drop_last": True,
        "rank": 0,
        "world_size": 1,
    }
    shard: Ints = np.arange(60) // 5
    return Steps(np.arange(60), 8, **{**arguments, "shards": shard, "together": 4, **changes})


def test_ranks_and_resuming_change_nothing() -> None:
    whole = list(steps())
    assert len(whole) == 14
    halves = [list(steps(rank=rank, world_size=2)) for rank in range(2)]
    assert [[*a, *b] for a, b in zip(*halves, strict=True)] == whole
    for start in range(len(whole)):
        resumed = steps()
        resumed.start = start
        assert list(resumed) == whole[start:]
    other = steps()
    other.epoch = 1
    assert [[example.clip for example in step] for step in other] != [[e.clip for e in step] for step in whole]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    """Twelve clips in six shards (which are one file under several names)."""
    one = write_store(tmp_path_factory.mktemp("one"), [ordinary_clip(i) for i in range(12)])
    root = tmp_path_factory.mktemp("six")
    clips: list[Clip] = [clip.model_copy(update={"shard": f"shard-{i // 2:05d}.tar"}) for i, clip in enumerate(one)]
    (root / MANIFEST).write_text("".join(clip.model_dump_json() + "\n" for clip in clips))
    for name in {clip.shard for clip in clips}:
        os.symlink(Path(one.root, "shard-00000.tar").absolute(), root / name)
    return ClipStore(root)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_takes_some_shards_at_a_time(store: ClipStore, workers: int) -> None:
    views = Views(size=16, frames=3, audio_s=0.5, crops=2)
    loader = ClipLoader(store, views, batch=2, seed=3, workers=workers, shuffle_shards=2)
    seen = [clip for batch in loader.epoch(0) for clip in batch.clip_N.tolist()]
    generator = np.random.default_rng((3, 0, 0))
    assert seen == slowly(list(range(12)), [i // 2 for i in range(12)], 2, generator)
    assert [len({clip // 2 for clip in seen[start : start + 4]}) for start in (0, 4, 8)] == [2, 2, 2]
