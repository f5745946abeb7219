"""Lines where there is no terminal."""

from __future__ import annotations

import time

import pytest

from avsa.engine.progress import Progress


def test_lines_are_rare_and_right(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress("avsa 1/2", done=40, total=100)  # continued: the first 40 took no time here
    for second in range(1, 61):
        now = float(second)
        progress.advance(examples=28)
        if second % 10 == 0:
            progress.show({"loss": 1.23456, "accuracy": 0.5}, progress.rate())
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "avsa 1/2: step 70 of 100, loss 1.235, accuracy 0.5, 28.0 clips/s, 00:30 left",
        "avsa 1/2: step 100 of 100, loss 1.235, accuracy 0.5, 28.0 clips/s, 00:00 left",
    ]
