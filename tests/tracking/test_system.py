"""How busy the machine is: what is sampled, and that a run's own metrics come first."""

from __future__ import annotations

import threading
import time

import pytest

from avsa.tracking import system as system_module
from avsa.tracking.system import SystemMetrics


class Log:
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.names: set[str] = set()
        self.called = threading.Event()

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        self.steps.append(step)
        self.names |= metrics.keys()
        self.called.set()


def test_samples_wait_for_the_first_of_the_runs_own_metrics() -> None:
    log, measured, asked = Log(), threading.Event(), threading.Semaphore(0)

    def is_measured() -> bool:
        asked.release()
        return measured.is_set()

    system = SystemMetrics(log, time.time() - 100, is_measured, every_s=0.01)
    for _ in range(3):
        assert asked.acquire(timeout=60)
    assert log.steps == []
    measured.set()
    assert log.called.wait(60)
    system.close()
    assert len(log.steps) >= 4  # those that waited, too
    assert log.steps == sorted(log.steps)
    assert min(log.steps) >= 100
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= log.names


def test_a_run_without_metrics_is_heard_of_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    SystemMetrics(log, time.time(), lambda: False, every_s=60).close()
    assert len(log.steps) == 1
    monkeypatch.setattr(system_module, "HELD_S", 0.0)
    system = SystemMetrics(log := Log(), time.time(), lambda: False, every_s=0.01)
    assert log.called.wait(60)
    system.close()
