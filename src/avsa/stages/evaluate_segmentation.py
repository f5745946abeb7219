"""Semantic segmentation from a frozen network, with every input that it offers; tables and pictures of it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from avsa.clips.store import ClipStore
from avsa.config import SegmentationInput
from avsa.data.dataset import Example
from avsa.data.labels import Classes, LabelledBatch, LabelledExamples, read_classes
from avsa.data.loader import Loader
from avsa.data.views import PICTURE_MEAN, PICTURE_STD, Views, without_augmentation
from avsa.engine import checkpoint
from avsa.engine.precision import autocast
from avsa.errors import UserError
from avsa.models.encoder import identity
from avsa.report.segments import Segmented, confusion_picture, segments_picture
from avsa.resolve import fingerprint
from avsa.stages import paths
from avsa.stages.abilities import check_hearing, translates
from avsa.stages.inputs import build_views, digest, open_store
from avsa.stages.job import Figure, Job
from avsa.tasks.iou import Tally, class_iou, measure
from avsa.tasks.segmentation import NEEDS, Crops, Segmenter, build, encode, predict, score, train

SHOWN = 8  # clips in the picture
OF_FREE_MEMORY = 0.7  # what kept features may take


def evaluate_segmentation(job: Job, task: str) -> Iterator[Figure]:
    """Pixel accuracy and mean IoU of a head for every input, on the same crops of the test split.

    Leaves ``classes.csv``, ``confusion.png`` and ``segments.png`` in ``job.out``.

    Raises:
        UserError: an empty split, no or unusable label maps, an encoder that offers none of the inputs, features that
            are to be kept and do not fit into memory.
    """
    chosen = job.config.evaluate.segmentation
    data = _Data(job, available_inputs(job))
    train_loader, test_loader = data.loader("train"), data.loader(data.measured)
    example = data.encode(data.some_clips("train", 1))
    segmenters = build(data.inputs, job.encoder, example, len(data.classes.names), chosen, job.seed)
    _train(data, segmenters, train_loader, task)
    train_loader.close()
    recordings = int(data.store(data.measured).columns["source"].max()) + 1
    with data.precision():
        tallies = score(segmenters, data.crops(test_loader, 0, "test crops"), recordings, len(data.classes.names))
        shown = _shown(data, segmenters)
    names, things = data.classes.names, data.classes.things
    _write_classes(job.out / "classes.csv", data.classes, tallies)
    segments_picture(shown, names, things, job.out / "segments.png")
    confusions: dict[str, npt.NDArray[np.int64]] = {name: tally.confusion.numpy() for name, tally in tallies.items()}
    confusion_picture(confusions, names, job.out / "confusion.png")
    for name, tally in tallies.items():
        if not tally.images:
            raise UserError(f"no pixel of the test crops has one of the {len(names)} classes")
        for metric, (value, low, high) in measure(tally, job.seed).items():
            yield Figure(name, metric, value, (low, high), tally.images)


def available_inputs(job: Job) -> list[SegmentationInput]:
    """The chosen inputs that the encoder offers; a line says why the others are left out.

    Raises:
        UserError: none is left.
    """
    left: list[SegmentationInput] = []
    for name in job.config.evaluate.segmentation.inputs:
        missing = [needed for needed in NEEDS[name] if not hasattr(job.encoder, needed)]
        if missing:
            tqdm.write(f"segmentation from {name} is left out: {job.checkpoint} has no {', '.join(missing)}")
        elif name == "video+audio+context" and not translates(job):
            tqdm.write(f"segmentation from {name} is left out: {job.checkpoint} has no trained translators")
        else:
            left.append(name)
    if not left:
        raise UserError(f"{job.checkpoint} offers none of evaluate.segmentation.inputs")
    if any("audio" in name for name in left):
        check_hearing(job)
    return left


class _Data:
    """What heads learn from and are measured on: crops of the store as the frozen encoder sees them."""

    def __init__(self, job: Job, inputs: list[SegmentationInput]) -> None:
        self.job, self.inputs = job, inputs
        self.chosen, self.measured = job.config.evaluate.segmentation, job.config.evaluate.split
        views = job.config.views.model_copy(update={"fov_deg": self.chosen.fov_deg})
        self.augmented, self.plain = views, without_augmentation(views)
        self.views: Views = build_views(job.config).to(job.device)
        self.classes: Classes = read_classes(self.store("train"), self.chosen.classes)
        self.precision: Callable[[], torch.autocast] = partial(autocast, job.device, job.config.engine.precision)

    def store(self, split: str) -> ClipStore:
        """The clips of a split."""
        return open_store(self.job.config, split)

    def loader(self, split: str) -> Loader[LabelledBatch]:
        """Training crops are augmented and in random order; test crops are the same for all networks of a seed."""
        training, config = split == "train", self.job.config
        seed, views = (self.job.seed, self.augmented) if training else (self.job.seed + 1, self.plain)
        examples = LabelledExamples(self.classes, self.store(split), views, seed, 1)
        return Loader(
            cast("Dataset[LabelledBatch]", examples),
            examples.usable,
            examples.store.root,
            batch=self.chosen.batch if training else config.evaluate.batch,
            seed=seed,
            repeats=self.chosen.views_per_clip if training else self.chosen.test_views_per_clip,
            shuffle=training,
            drop_last=False,
            workers=config.engine.workers,
            shards=examples.shards,
            shuffle_shards=config.store.shuffle_shards,
        )

    def some_clips(self, split: str, count: int) -> LabelledBatch:
        """A window of each of some clips that are spread over a split, as the test sees them."""
        examples = LabelledExamples(self.classes, self.store(split), self.plain, self.job.seed + 1, 1)
        spread = np.linspace(0, len(examples.usable) - 1, min(count, len(examples.usable))).round().astype(int)
        return examples.batch([Example(0, 0, int(examples.usable[i])) for i in spread])

    def encode(self, batch: LabelledBatch) -> Crops:
        """What the heads see of a batch."""
        with self.precision():
            return encode(self.job.encoder, self.views, batch.to(self.job.device), self.inputs)

    def crops(self, loader: Loader[LabelledBatch], epoch: int, what: str) -> Iterator[Crops]:
        """The steps of an epoch."""
        for batch in tqdm(loader.epoch(epoch), total=len(loader), desc=what, unit="batch", disable=None):
            yield self.encode(batch)

    def epochs(self, loader: Loader[LabelledBatch]) -> Callable[[int], Iterable[Crops]]:
        """Epoch -> its steps: other crops in every epoch, or the same ones, in another order, from memory."""
        if self.chosen.fresh_views:
            return lambda epoch: self.crops(loader, epoch, f"epoch {epoch + 1} of {self.chosen.epochs}")
        kept: list[Crops] = []
        for crops in self.crops(loader, 0, "features to keep"):
            kept.append(crops)
            if len(kept) == 1:
                _check_memory(crops, len(loader), self.job.device)

        def again(epoch: int) -> Iterator[Crops]:
            generator = torch.Generator().manual_seed(self.job.seed * 1000 + epoch)
            order = torch.randperm(len(kept), generator=generator).tolist()
            progress = f"epoch {epoch + 1} of {self.chosen.epochs}"
            return (kept[i] for i in tqdm(order, desc=progress, unit="batch", disable=None))

        return again


def _train(
    data: _Data, segmenters: dict[SegmentationInput, Segmenter], loader: Loader[LabelledBatch], task: str
) -> None:
    """Killed and started again, the training goes on after the last whole epoch."""
    job, config = data.job, data.job.config
    name = fingerprint(
        *(identity(job.encoder), data.inputs, data.chosen, config.views, config.audio, job.seed),
        *(data.store("train").digest, digest(paths.statistics(config)), data.classes.names, config.engine.precision),
    )
    folder = paths.state(name)
    state = checkpoint.load(folder, name)
    train(
        segmenters, data.epochs(loader), data.chosen, partial(_log, job, task), data.precision, state,
        lambda state: checkpoint.save({"fingerprint": name, **state}, folder),
    )  # fmt: skip
    job.finished.append(folder)


def _check_memory(crops: Crops, steps: int, device: torch.device) -> None:
    needed = steps * sum(tensor.nbytes for tensor in crops.tensors())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > OF_FREE_MEMORY * free:
        raise UserError(
            f"features of all training crops take {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: "
            "set evaluate.segmentation.fresh_views to true, or lower views_per_clip"
        )


def _log(job: Job, task: str, losses: Mapping[str, float], epoch: int) -> None:
    job.run.log({f"{task}/{name.replace('+', '-')}/loss": loss for name, loss in losses.items()}, epoch)


def _shown(data: _Data, segmenters: Mapping[SegmentationInput, Segmenter]) -> list[Segmented]:
    """Of some test clips the crop with the most classes, whatever is predicted there."""
    batch = data.some_clips(data.measured, SHOWN).to(data.job.device)
    crops, video_NKCTHW = data.encode(batch), data.views.video(batch)
    (N, K), middle = video_NKCTHW.shape[:2], (video_NKCTHW.shape[3] - 1) // 2
    mean, std = (torch.tensor(x, device=video_NKCTHW.device) for x in (PICTURE_MEAN, PICTURE_STD))
    picture_NKHWC = (video_NKCTHW[:, :, :, middle].movedim(2, -1) * std + mean).clamp(0, 1).cpu().numpy()
    target_NKHW = crops.target_BHW.unflatten(0, (N, K)).cpu().numpy()
    said = {
        name: predict(segmenter, crops).unflatten(0, (N, K)).cpu().numpy() for name, segmenter in segmenters.items()
    }
    found = []
    for n, clip in enumerate(batch.ids):
        k = int(np.argmax([len(np.unique(target_HW)) for target_HW in target_NKHW[n]]))
        predicted: dict[str, npt.NDArray[np.uint8]] = {
            name: predicted_NKHW[n, k].astype(np.uint8) for name, predicted_NKHW in said.items()
        }
        found.append(Segmented(clip, picture_NKHWC[n, k], target_NKHW[n, k], predicted))
    return found


def _write_classes(path: Path, classes: Classes, tallies: Mapping[SegmentationInput, Tally]) -> None:
    """A row per class: its share of the pixels and its IoU for every input, in percent; empty where it is nowhere."""
    first = next(iter(tallies.values()))
    share_C = 100 * first.confusion.sum(1) / first.confusion.sum().clamp(min=1)
    iou_IC = [(100 * class_iou(tally.confusion)).tolist() for tally in tallies.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "kind", "pixels", *tallies])
        for number, name in enumerate(classes.names):
            kind = "thing" if number < classes.things else "stuff"
            values = [f"{iou_C[number]:.2f}" if iou_C[number] == iou_C[number] else "" for iou_C in iou_IC]
            writer.writerow([name, kind, f"{share_C[number]:.3f}", *values])
