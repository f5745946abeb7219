"""Batches of a clip store for training: the same ones whatever the workers, the ranks and the interruptions."""

import signal
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset, Sampler

from avsa.clips.store import ClipStore
from avsa.config import Store, Views
from avsa.data.batch import Batch
from avsa.data.dataset import ClipExamples, Example, Failure
from avsa.data.shuffle import shuffled
from avsa.errors import UserError

B = TypeVar("B")
Ints = npt.NDArray[np.int64]


class Steps(Sampler[list[Example]]):
    """This rank's examples of each step of an epoch.

    An epoch passes over the clips `repeats` times; no clip is twice in a step. A shuffled pass takes the clips of
    `together` shards at a time (`avsa.data.shuffle`); clips without shards are mixed all together. The global batch of
    a step is cut into `world_size` runs of (almost) equal length, so that the ranks' batches in order are one process's
    batch.
    """

    def __init__(
        self,
        clips: Sequence[int] | Ints,
        batch: int,
        *,
        seed: int,
        repeats: int,
        shuffle: bool,
        drop_last: bool,
        rank: int,
        world_size: int,
        shards: Ints | None = None,
        together: int = 1,
    ) -> None:
        self.clips, self.batch, self.seed, self.repeats = np.asarray(clips, np.int64), batch, seed, repeats
        self.shards, self.together = np.zeros_like(self.clips) if shards is None else shards, together
        self.shuffle, self.drop_last, self.rank, self.world_size = shuffle, drop_last, rank, world_size
        self.in_pass = len(clips) // batch if drop_last else -(-len(clips) // batch)
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self.in_pass * self.repeats

    def __iter__(self) -> Iterator[list[Example]]:
        epoch, start = self.epoch, self.start
        for repeat in range(start // self.in_pass, self.repeats):
            order = self.clips
            if self.shuffle:
                generator = np.random.default_rng((self.seed, epoch, repeat))
                order = shuffled(order, self.shards, self.together, generator)
            for step in range(max(0, start - repeat * self.in_pass), self.in_pass):
                together = order[step * self.batch : (step + 1) * self.batch]
                mine = np.array_split(together, self.world_size)[self.rank]
                yield [Example(epoch, repeat, int(clip)) for clip in mine]


class Loader(Generic[B]):
    """Batches of examples, made in worker processes that live as long as the loader.

    A batch depends on (seed, epoch, step) alone. One iterator at a time: a new `epoch` ends the last one.

    Args:
        examples: makes a list of :class:`Example` into a batch of type B, or a :class:`Failure`.
        items: the numbers of the clips that examples are drawn from.
        where: what holds the clips, for messages.
        batch: clips in a step over all ranks.
        repeats: examples drawn from one clip in an epoch.
        shuffle, drop_last: on for training; off for every clip in its order (then the last batch is smaller).
        workers: decoding processes; 0 decodes in this one.
        pin_memory: for copies to a GPU.
        shards: the shard of each item, where a shuffled pass is to take `shuffle_shards` of them at a time.

    Raises:
        UserError: fewer clips than a batch, a batch that ranks cannot share.
    """

    def __init__(
        self,
        examples: Dataset[B],
        items: Sequence[int] | Ints,
        where: object,
        *,
        batch: int,
        seed: int = 0,
        repeats: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        shards: Ints | None = None,
        shuffle_shards: int = Store().shuffle_shards,
    ) -> None:
        if batch % world_size:
            raise UserError(f"a batch of {batch} clips cannot be shared equally by {world_size} ranks")
        if drop_last and len(items) < batch:
            raise UserError(f"{where} has {len(items)} clips to train on, a batch takes {batch}: lower the batch")
        self.steps = Steps(
            items,
            batch,
            seed=seed,
            repeats=repeats,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world_size=world_size,
            shards=shards,
            together=shuffle_shards,
        )
        self._dataset, self.workers, self.pin_memory = examples, workers, pin_memory
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.steps)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[B]:
        """The batches of an epoch from the `start_step`-th on; what lies before is not decoded.

        Raises:
            UserError: a clip cannot be read or decoded (its id is in the message), or a worker died.
        """
        self.steps.epoch, self.steps.start = epoch, start_step
        if self._loader is None:
            self._loader = self._open()
        try:
            for batch in self._loader:
                if isinstance(batch, Failure):
                    raise UserError(batch.message)
                yield batch
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise UserError(
                "a decoding process was killed, probably for want of memory: lower engine.workers, "
                "or in a container give it more shared memory (--shm-size)"
            ) from error

    def close(self) -> None:
        """End the workers; the next epoch starts new ones."""
        self._loader = None

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            self._dataset,
            batch_sampler=self.steps,
            collate_fn=_as_is,
            num_workers=self.workers,
            # Forked, also where the process itself comes from a fork server: workers then end with it, however it ends.
            multiprocessing_context="fork" if self.workers else None,
            persistent_workers=self.workers > 0,
            prefetch_factor=2 if self.workers else None,
            pin_memory=self.pin_memory,
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )


class ClipLoader(Loader[Batch]):
    """Decodes a clip store's examples; a batch has `batch / world_size × moments` rows.

    Args:
        moments: windows of one clip in a batch, apart in time (`avsa.data.draw.draw_windows`).
        others: as of :class:`Loader`.

    Raises:
        UserError: clips of different sizes or rates, and as :class:`Loader`.
    """

    def __init__(
        self,
        store: ClipStore,
        views: Views,
        *,
        batch: int,
        seed: int = 0,
        moments: int = 1,
        repeats: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        shuffle_shards: int = Store().shuffle_shards,
    ) -> None:
        self.examples = ClipExamples(store, views, seed, moments)
        super().__init__(
            self.examples,
            self.examples.usable,
            store.root,
            batch=batch,
            seed=seed,
            repeats=repeats,
            shuffle=shuffle,
            drop_last=drop_last,
            workers=workers,
            rank=rank,
            world_size=world_size,
            pin_memory=pin_memory,
            shards=self.examples.shards,
            shuffle_shards=shuffle_shards,
        )


def _as_is(batch: Any) -> Any:
    return batch


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
