"""Metrics of label maps against slow loops and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from avsa.tasks import iou
from avsa.tasks.iou import Tally, class_iou, measure

C, IGNORE = 5, 255


def images(count: int, seed: int, right: float = 0.6) -> tuple[Tensor, Tensor]:
    """(target, predicted), 6×7 pixels; class 4 is nowhere, and some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 4, (count, 6, 7), generator=generator)
    target[:, :, 3:] = target[:, :1, 3:]  # images that lack some classes
    other = torch.randint(0, 4, target.shape, generator=generator)
    predicted = torch.where(torch.rand(target.shape, generator=generator) < right, target, other)
    target[torch.rand(target.shape, generator=generator) < 0.2] = IGNORE
    return target.to(torch.uint8), predicted


def tally(target: Tensor, predicted: Tensor, recording: list[int], groups: int) -> Tally:
    """Counted in two portions."""
    found, half = Tally.empty(groups, C), len(target) // 2
    for part in (slice(0, half), slice(half, None)):
        found = found.add(target[part], predicted[part], torch.tensor(recording)[part], IGNORE)
    return found


def slow(target: Tensor, predicted: Tensor) -> dict[str, float]:
    """Pixel by pixel, class by class."""
    pairs = [(int(t), int(p)) for t, p in zip(target.flatten(), predicted.flatten(), strict=True) if int(t) != IGNORE]

    def of_class(c: int, some: list[tuple[int, int]]) -> float:
        both = sum(t == c and p == c for t, p in some)
        either = sum(t == c or p == c for t, p in some)
        return both / either if either else math.nan

    single = []
    for t_HW, p_HW in zip(target, predicted, strict=True):
        some = [(int(t), int(p)) for t, p in zip(t_HW.flatten(), p_HW.flatten(), strict=True) if int(t) != IGNORE]
        single += [of_class(c, some) for c in range(C)]
    return {
        "pixel_accuracy": 100 * sum(t == p for t, p in pairs) / len(pairs),
        "miou": 100 * float(np.nanmean([of_class(c, pairs) for c in range(C)])),
        "miou_image": 100 * float(np.nanmean(single)),
    }


def test_slow_loops() -> None:
    target, predicted = images(9, seed=0)
    found = measure(tally(target, predicted, list(range(9)), 9), seed=0)
    for name, expected in slow(target, predicted).items():
        assert found[name][0] == pytest.approx(expected, abs=1e-9)  # type: ignore[index]
    assert found["miou"][0] != pytest.approx(found["miou_image"][0], abs=0.5)


def test_torchmetrics() -> None:
    target, predicted = images(12, seed=1)
    counted = tally(target, predicted, [0] * 12, 1)
    found = measure(counted, seed=0)
    jaccard = MulticlassJaccardIndex(C, average="macro", ignore_index=IGNORE)
    assert found["miou"][0] == pytest.approx(100 * float(jaccard(predicted, target.long())), abs=1e-4)
    accuracy = MulticlassAccuracy(C, average="micro", ignore_index=IGNORE)
    assert found["pixel_accuracy"][0] == pytest.approx(100 * float(accuracy(predicted, target.long())), abs=1e-4)
    each = MulticlassJaccardIndex(C, average="none", ignore_index=IGNORE)(predicted, target.long())
    of_class = class_iou(counted.confusion)
    torch.testing.assert_close(of_class[:4].float(), each[:4])
    assert bool(of_class[4].isnan())


def test_ignored_pixels_count_nowhere() -> None:
    target, predicted = images(4, seed=2)
    before = tally(target, predicted, [0, 1, 2, 3], 4)
    predicted[target == IGNORE] = 4  # whatever is said there
    nothing = torch.full((1, 6, 7), IGNORE, dtype=torch.uint8)
    after = tally(torch.cat([target, nothing]), torch.cat([predicted, predicted[:1]]), [0, 1, 2, 3, 3], 4)
    assert torch.equal(before.confusion_GCC, after.confusion_GCC)
    assert torch.equal(before.iou_G, after.iou_G)
    assert torch.equal(before.pairs_G, after.pairs_G)
    assert before.images == after.images == 4


def test_confusion_rows_are_targets() -> None:
    target = torch.tensor([[[0, 0, 1]]], dtype=torch.uint8)
    found = tally(target, torch.tensor([[[2, 0, 1]]]), [0], 1).confusion
    assert found.nonzero().tolist() == [[0, 0], [0, 2], [1, 1]]


def test_intervals_are_those_of_redrawn_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws of recordings, their images put together and measured by the slow loops."""
    monkeypatch.setattr(iou, "RESAMPLES", 60)
    target, predicted = images(10, seed=3)
    recording = [0, 0, 0, 1, 1, 2, 3, 3, 4, 4]
    found = measure(tally(target, predicted, recording, 5), seed=4)
    drawn_SG = torch.randint(5, (60, 5), generator=torch.Generator().manual_seed(4))
    values: dict[str, list[float]] = {"pixel_accuracy": [], "miou": [], "miou_image": []}
    for drawn_G in drawn_SG.tolist():
        rows = [i for group in drawn_G for i in range(10) if recording[i] == group]
        for name, value in slow(target[rows], predicted[rows]).items():
            values[name].append(value)
    for name, (_, low, high) in found.items():
        assert [low, high] == pytest.approx(np.quantile(values[name], [0.025, 0.975]).tolist(), abs=1e-9)


def test_images_of_one_recording_are_not_independent() -> None:
    """Forty copies of five recordings are no more than the five."""
    target, predicted = images(5, seed=5)
    once = measure(tally(target, predicted, [0, 1, 2, 3, 4], 5), seed=0)
    often = measure(tally(target.repeat(8, 1, 1), predicted.repeat(8, 1, 1), [0, 1, 2, 3, 4] * 8, 5), seed=0)
    apart = measure(tally(target.repeat(8, 1, 1), predicted.repeat(8, 1, 1), list(range(40)), 40), seed=0)
    for name in once:
        assert often[name] == pytest.approx(once[name])
        assert apart[name][2] - apart[name][1] < 0.6 * (once[name][2] - once[name][1])


def test_the_interval_covers_what_it_should() -> None:
    """Of 200 data sets of 40 recordings from one source, about 95 % have the source's accuracy in their interval."""
    generator = torch.Generator().manual_seed(6)
    covered = 0
    for seed in range(200):
        right_G = torch.rand(40, generator=generator)  # a recording is easy or hard: 0.5 on average
        wrong = torch.rand(40, 1, 50, generator=generator) >= right_G[:, None, None]
        target = torch.zeros(40, 1, 50, dtype=torch.uint8)
        found = measure(Tally.empty(40, 2).add(target, wrong.long(), torch.arange(40), IGNORE), seed)
        _, low, high = found["pixel_accuracy"]
        covered += low <= 50 <= high
    assert 180 <= covered <= 199


def test_recordings_without_a_label_have_no_part() -> None:
    target, predicted = images(6, seed=7)
    without = measure(tally(target, predicted, list(range(6)), 6), seed=0)
    nothing = torch.full((3, 6, 7), IGNORE, dtype=torch.uint8)
    with_some = tally(torch.cat([target, nothing]), torch.cat([predicted, predicted[:3]]), list(range(9)), 9)
    assert measure(with_some, seed=0) == without
    with pytest.raises(ValueError, match="no pixel"):
        measure(Tally.empty(3, C), seed=0)
