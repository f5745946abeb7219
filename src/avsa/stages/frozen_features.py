"""Features of a frozen network: read where they were kept, made where not."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from avsa.config import Views
from avsa.data.feature_cache import FeatureCache, Fetched
from avsa.data.loader import ClipLoader
from avsa.data.views import without_augmentation
from avsa.engine.precision import autocast, has_bf16
from avsa.models.encoder import identity
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.inputs import build_views, digest, open_store
from avsa.stages.job import Job
from avsa.tasks.binary import Features, extract

CODE = (
    *("ambisonics", "data", "engine/precision.py", "features.py", "geometry", "models"),
    *("stages/frozen_features.py", "stages/inputs.py", "tasks/binary.py"),
)
"""What decides the features' values; a change of it makes them anew."""


class FrozenFeatures:
    """The features that a job needs; both binary tasks of one network need the same ones."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cache = FeatureCache(paths.FEATURES, job.config.evaluate.binary.cache_gb * 1e9)
        self.encoder = identity(job.encoder)
        self.fetched: list[Fetched] = []

    def of(self, split: str, repeats: int, seed: int, most: int | None = None) -> Features:
        """Features of ``repeats`` views of every clip of a split, without augmentation; of the first ``most`` in their
        random order, to whole batches.

        Raises:
            UserError: an empty split, a clip that cannot be decoded, an encoder that gives other shapes than it says.
        """

        def make() -> dict[str, Tensor]:
            return vars(self._extract(split, repeats, seed, most))

        self.fetched.append(self.cache.fetch(self._key(split, repeats, seed, most), make))
        return Features(**self.fetched[-1].tensors)

    def log_use(self) -> None:
        """Record whether all features were kept ones, and the time that took and saved."""
        kept, seconds = all(one.kept for one in self.fetched), sum(one.seconds for one in self.fetched)
        saved = sum(one.saved for one in self.fetched)
        metrics = {"features/cached": kept, "features/seconds": seconds, "features/seconds_saved": saved}
        self.job.run.log(metrics, step=0)
        how = f"kept in {paths.FEATURES}: {saved:.1f} s saved" if kept else "made"
        tqdm.write(f"{self.job.checkpoint}: features in {seconds:.1f} s, {how}")

    def _extract(self, split: str, repeats: int, seed: int, most: int | None) -> Features:
        config, device = self.job.config, self.job.device
        batch, views = config.evaluate.batch, without_augmentation(config.views)
        loader = split_loader(self.job, split, views, batch=batch, repeats=repeats, seed=seed, drop_last=False)
        steps = len(loader) if most is None else min(len(loader), math.ceil(most / batch))
        batches = tqdm(
            islice(loader.epoch(0), steps), total=steps, desc=f"features of {split}", unit="batch", disable=None
        )
        with autocast(device, config.engine.precision):
            return extract(self.job.encoder, batches, build_views(config).to(device), device, seed)

    def _key(self, split: str, repeats: int, seed: int, most: int | None = None) -> str:
        config, device = self.job.config, self.job.device
        package = Path(__file__).parents[1]
        code = [file for room in CODE for file in ([package / room] if "." in room else (package / room).rglob("*.py"))]
        clips = open_store(config).digest
        bf16 = config.engine.precision == "bf16" and has_bf16(device)
        hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return fingerprint(
            *(
                self.job.checkpoint,
                self.encoder,
                without_augmentation(config.views),
                config.audio,
                config.evaluate.batch,
            ),
            *(split, repeats, seed, most),
            [clips, *(digest(path) for path in (paths.statistics(config), *sorted(code)))],
            [bf16, hardware, torch.__version__, torch.get_num_threads()],  # arithmetic, to the last bit
        )


def split_loader(
    job: Job, split: str, views: Views, *, batch: int, repeats: int, seed: int, drop_last: bool
) -> ClipLoader:
    """The batches of a split."""
    return ClipLoader(
        open_store(job.config, split),
        views,
        seed=seed,
        batch=batch,
        repeats=repeats,
        workers=job.config.engine.workers,
        drop_last=drop_last,
        pin_memory=job.device.type == "cuda",
        shuffle_shards=job.config.store.shuffle_shards,
    )
