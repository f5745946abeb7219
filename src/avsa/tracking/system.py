"""How busy the machine is while a run is open: ``system/*`` metrics under MLflow's own names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

EVERY_S = 10.0
HELD_S = 300.0  # at most; a run that says nothing for longer than this may be thought dead


class SystemMetrics:
    """A thread that samples until it is closed; the step of a sample is the second of the run.

    The first samples are held until ``measured`` says that the run has metrics of its own, for a while: MLflow's pages
    begin a comparison with the metric that came first.
    """

    def __init__(
        self,
        log: Callable[[dict[str, float], int], None],
        began_s: float,
        measured: Callable[[], bool] = lambda: True,
        every_s: float = EVERY_S,
    ) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._log, self._began_s, self._measured, self._every_s = log, began_s, measured, every_s
        self._held: list[tuple[dict[str, float], int]] | None = []
        self._held_until = time.monotonic() + HELD_S
        kinds: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor]
        self._monitors: list[Any] = []
        for kind in kinds:
            with suppress(Exception):  # no GPU, or nothing to ask it with
                self._monitors.append(kind())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The last sample."""
        self._over.set()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._over.wait(self._every_s):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        metrics: dict[str, float] = {}
        with suppress(Exception):  # a machine that does not tell is no reason to stop
            for monitor in self._monitors:
                monitor.collect_metrics()
                metrics |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
        if metrics:
            self._send(metrics, int(time.time() - self._began_s))

    def _send(self, metrics: dict[str, float], second: int) -> None:
        if self._held is not None:
            self._held.append((metrics, second))
            if not (self._over.is_set() or time.monotonic() > self._held_until or self._measured()):
                return
            held, self._held = self._held, None
            for sample in held:
                self._log(*sample)
        else:
            self._log(metrics, second)
