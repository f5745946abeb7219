"""The order of a pass over clips: all of them mixed, or of a store of many shards, some shards at a time.

What a pass reads in a stretch then lies in few shards, so that it fits into a cache of the disk or of memory.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def shuffled(clips: Ints, shard: Ints, together: int, generator: np.random.Generator) -> Ints:
    """The clips in random order, `together` shards at a time.

    The shards are permuted and cut into as few runs as hold at most `together` of them, equally long to within one
    shard; the clips of a run's shards, in this order of the shards, are permuted among themselves. With no more than
    `together` shards this is one permutation of all clips.

    Args:
        clips: what is ordered.
        shard: the shard of each clip.
    """
    shards = np.unique(shard)
    if len(shards) <= together:
        return generator.permutation(clips)
    by_shard = np.argsort(shard, kind="stable")
    pieces = np.split(clips[by_shard], np.cumsum(np.unique(shard, return_counts=True)[1])[:-1])
    runs = np.array_split(generator.permutation(len(shards)), -(-len(shards) // together))
    return np.concatenate([generator.permutation(np.concatenate([pieces[s] for s in run])) for run in runs])
