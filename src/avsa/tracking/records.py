"""Runs of the tracking store, looked up by what they read and wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.tracking.items import OUTPUT
from avsa.tracking.locks import Step
from avsa.tracking.run_file import RUN_FILE

if TYPE_CHECKING:
    from dvc.repo import Repo
    from mlflow import MlflowClient
    from mlflow.entities import Run

RESTORED = "avsa.restored"
"""Tag of a run that made nothing: DVC took the outputs from its cache. Its value is the run that made them."""


@dataclass(frozen=True)
class RunFacts:
    """What a reader wants to know of a run at once."""

    id: str
    name: str = ""
    status: str = ""
    started_ms: int = 0
    commit: str = ""
    dirty: bool = False
    experiment: str = ""  # DVC's name
    restored: str = ""  # the run that made what this one found in the cache

    def plain(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


def facts(run: Run) -> RunFacts:
    """Of a run of the store."""
    tags, info = run.data.tags, run.info
    return RunFacts(
        info.run_id,
        info.run_name or "",
        info.status,
        info.start_time or 0,
        tags.get("git.commit", ""),
        tags.get("git.dirty") == "True",
        tags.get("dvc.exp", ""),
        tags.get(RESTORED, ""),
    )


class Records:
    """The store's runs."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self._found: dict[str, list[Run]] = {}

    @cached_property
    def experiments(self) -> list[str]:
        """Ids of all that are not deleted."""
        return [experiment.experiment_id for experiment in self.client.search_experiments()]

    def that_wrote(self, hash_: str) -> list[Run]:
        """Runs with an output of this hash, the oldest first."""
        if hash_ not in self._found:
            found = self._search(f"dataset.digest = '{hash_}' AND dataset.context = '{OUTPUT}'")
            # MLflow's conditions may hold for different data sets of a run.
            self._found[hash_] = [run for run in found if any(out == hash_ for _, out in outputs(run))]
        return self._found[hash_]

    def that_touched(self, hash_: str) -> list[Run]:
        """Runs that read or wrote these bytes."""
        return self._search(f"dataset.digest = '{hash_}'")

    def made(self, step: Step) -> list[Run]:
        """Runs of the step's stage with exactly its outputs; the runs of restored outputs are among them."""
        for _, hash_ in step.writes[:1]:
            found = self.that_wrote(hash_)
            return [run for run in found if set(step.writes) <= set(outputs(run)) and stage_of(run) == step.stage]
        return []

    def _search(self, wanted: str) -> list[Run]:
        return list(self.client.search_runs(self.experiments, wanted, order_by=["attributes.start_time ASC"]))


def stage_of(run: Run) -> str:
    """The DVC stage of a run; of one by hand its verb."""
    return str(run.data.tags.get("dvc.stage") or run.data.tags.get("avsa.stage", "?"))


def outputs(run: Run) -> list[tuple[str, str]]:
    """What a run wrote."""
    return sorted(file for file, role in _items(run) if role == OUTPUT)


def step_of(run: Run) -> Step:
    """A run as a step, from what the store recorded."""
    reads = sorted(file for file, role in _items(run) if role != OUTPUT)
    return Step(stage_of(run), tuple(reads), tuple(outputs(run)), places={f"run {run.info.run_id}"})


def maker_in_cache(repo: Repo, root: Path, step: Step) -> str | None:
    """The run that a step's output names in its run file: in the workspace, else in DVC's cache; None where neither
    has it."""
    for path, hash_ in step.writes:
        if not hash_.endswith(".dir"):
            continue
        listing = Path(repo.cache.local.oid_to_path(hash_))
        if not listing.exists():
            continue
        for entry in json.loads(listing.read_text(encoding="utf-8")):
            if entry["relpath"] == RUN_FILE:
                for file in (Path(repo.cache.local.oid_to_path(entry["md5"])), root / path / RUN_FILE):
                    if file.exists():
                        return str(json.loads(file.read_text(encoding="utf-8"))["run_id"])
    return None


def _items(run: Run) -> list[tuple[tuple[str, str], str]]:
    found = []
    for item in run.inputs.dataset_inputs if run.inputs else []:
        role = next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), "")
        found.append(((item.dataset.name, item.dataset.digest), role))
    return found
