"""Epochs of a chosen length pass over the data without a gap, and begin anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avsa.engine.stretch import Stretch


class Data:
    """Five batches in an epoch, each named by where it is."""

    closed = False

    def __len__(self) -> int:
        return 5

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[int, int]]:
        return ((epoch, step) for step in range(start_step, 5))

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("steps", [1, 3, 5, 13])
def test_epochs_follow_each_other_in_the_data(steps: int) -> None:
    loader = Stretch(Data(), steps)
    assert len(loader) == steps
    seen = [batch for epoch in range(4) for batch in loader.epoch(epoch)]
    assert seen == [divmod(number, 5) for number in range(4 * steps)]


def test_an_epoch_goes_on_in_its_middle() -> None:
    loader = Stretch(Data(), 13)
    assert list(loader.epoch(2, 9)) == list(loader.epoch(2))[9:]
    assert list(loader.epoch(0, 13)) == []


def test_closing_ends_what_works_ahead() -> None:
    data = Data()
    Stretch(data, 3).close()
    assert data.closed
