"""An open run: what it records goes to its journal, and from there to the tracking store."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.tracking.items import Item
from avsa.tracking.journal import Entry, Journal
from avsa.tracking.sender import Sender

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTLE_S = 60.0  # how long a question to the store waits for what was recorded


@dataclass(frozen=True)
class Run:
    """An open MLflow run; satisfies the engine's tracker protocol.

    Nothing that it records waits for the store: entries go to a journal on disk, and a thread carries them on.
    """

    run_id: str
    uri: str  # without secrets
    client: MlflowClient
    experiment_id: str
    journal: Journal
    sender: Sender
    whole: bool = True  # the journal has everything since the run began
    stored: Mapping[str, int] = field(default_factory=dict)  # metric -> last step that the store had at the beginning

    def log(self, metrics: Mapping[str, float], step: int, of: Path | None = None) -> None:
        """Record several metrics of one step, all or none; ``of`` names the checkpoint that they measure."""
        known = {"md5": md5_of(of)} if of else {}
        self.put("metrics", metrics={key: float(value) for key, value in metrics.items()}, step=step, **known)

    def flush(self) -> None:
        """Return when everything is on the disk."""
        self.journal.sync()

    def last_step(self, prefix: str = "") -> int:
        """The last step that any metric whose name begins so was logged for, −1 where there is none.

        System metrics are left out: they count seconds, not steps.
        """
        steps = [step for name, step in self.stored.items() if _counts(name, prefix)]
        for entry in self._metrics():
            if any(_counts(name, prefix) for name in entry["metrics"]):
                steps.append(entry["step"])
        return max(steps, default=-1)

    def curves(self) -> dict[str, dict[int, float]]:
        """Metric -> step -> value, without the system's; asks the store only for a run that began elsewhere."""
        if not self.whole:
            self.sender.settle(SETTLE_S)
            names = [name for name in self.client.get_run(self.run_id).data.metrics if _counts(name)]
            return {name: self.history(name) for name in sorted(names)}
        found: dict[str, dict[int, float]] = {}
        for entry in self._metrics():
            for name, value in entry["metrics"].items():
                if _counts(name):
                    found.setdefault(name, {})[entry["step"]] = value
        return dict(sorted(found.items()))

    def history(self, name: str) -> dict[int, float]:
        """Step -> value of a metric; from the store where the run is over or began elsewhere."""
        if self.whole and not self.journal.closed:
            return self.curves().get(name, {})
        self.sender.settle(SETTLE_S)
        return {m.step: m.value for m in self.client.get_metric_history(self.run_id, name)}

    def checkpoint(self, name: str, path: Path, params: Mapping[str, Any]) -> None:
        """Register a network by reference, with the metrics that were logged last: nothing is uploaded."""
        logged = (entry for entry in self._metrics() if any(map(_counts, entry["metrics"])))
        last = max(logged, key=lambda entry: entry["step"], default=None)
        md5 = md5_of(path)
        where = {"name": re.sub(r"[^\w-]", "_", name), "path": path.as_posix(), "step": last["step"] if last else 0}
        self.put("model", md5=md5, params={key: str(value) for key, value in params.items()}, **where)
        if last:
            self.journal.append({**last, "md5": md5})

    def params(self, params: Mapping[str, Any]) -> None:
        """Record what the run depends on; a name's value never changes."""
        self.put("params", params={key: str(value)[:6000] for key, value in params.items()})

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Record facts about the run."""
        self.put("tags", tags={key: str(value)[:5000] for key, value in tags.items()})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file with the run, as it is now."""
        self.put("artifact", file=self.journal.keep(path), folder=folder)

    def text(self, name: str, content: str) -> None:
        """Keep a text with the run."""
        path = self.journal.folder / name
        path.write_text(content, encoding="utf-8")
        self.artifact(path)
        path.unlink()

    def items(self, items: Sequence[Item]) -> None:
        """Record what was read or written."""
        if items:
            self.put("items", items=[item.plain() for item in items])

    def status(self, status: str) -> None:
        """Record how the run stands."""
        self.put("status", status=status)

    def put(self, kind: str, **content: Any) -> None:
        """Record an entry about this run (:mod:`avsa.tracking.deliver`)."""
        self.journal.append({"run": self.run_id, "kind": kind, "time": int(time.time() * 1000), **content})

    def _metrics(self) -> Iterator[Entry]:
        entries = self.journal.entries()
        return (entry for entry in entries if entry["kind"] == "metrics" and entry["run"] == self.run_id)


class Silent:
    """The tracker of every rank but the first."""

    run_id = ""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing is recorded."""

    def flush(self) -> None:
        """Nothing waits."""

    def last_step(self) -> int:
        """Nothing was logged."""
        return -1


def md5_of(path: Path) -> str:
    """DVC's hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _counts(name: str, prefix: str = "") -> bool:
    """Whether a metric counts steps of the training whose metrics begin so."""
    return name.startswith(prefix) and not name.startswith("system/")
