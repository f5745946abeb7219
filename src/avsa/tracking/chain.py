"""The chain behind a file and after it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.tracking.graph import Graph
from avsa.tracking.locks import WORKSPACE, File, Step
from avsa.tracking.records import Records, RunFacts, facts, maker_in_cache, step_of

if TYPE_CHECKING:
    from dvc.repo import Repo

Node = dict[str, Any]
"""Of a file: ``path``, ``hash``, ``made_by``, ``used_by``. Of a step: ``stage``, ``runs``, ``commits``, ``params``,
``reads``, ``code`` or ``writes``; of one that is shown already, only its ``stage`` and ``again``."""


@dataclass
class Chains:
    """Follows files through steps; ``records`` is None where the tracking store cannot be reached."""

    root: Path
    repo: Repo
    graph: Graph
    records: Records | None
    _runs: dict[Step, list[Node]] = field(default_factory=dict)

    def of(self, file: File, step: Step | None) -> Node:
        """Both directions; ``step`` is one that wrote or read the file."""
        return {**self._up(file, step, set()), "used_by": self._down(file, step, set())["used_by"]}

    def _up(self, file: File, beside: Step | None, seen: set[Step]) -> Node:
        makers = self.graph.makers(file, beside)
        if not makers and self.records:  # not in any dvc.lock at hand: what the store remembers
            for run in self.records.that_wrote(file[1]):
                self.graph.add(step_of(run))
            makers = self.graph.makers(file, beside)
        return {"path": file[0], "hash": file[1], "made_by": [self._maker(step, seen) for step in makers]}

    def _maker(self, step: Step, seen: set[Step]) -> Node:
        if step in seen:
            return {"stage": step.stage, "again": True}
        seen.add(step)
        reads = [self._up(file, step, seen) for file in step.reads]
        return {
            **self._facts(step),
            "params": step.params,
            "reads": [node for node in reads if node["made_by"]],
            "code": [{"path": node["path"], "hash": node["hash"]} for node in reads if not node["made_by"]],
        }

    def _down(self, file: File, beside: Step | None, seen: set[Step]) -> Node:
        users = self.graph.users(file, beside)
        return {"path": file[0], "hash": file[1], "used_by": [self._user(step, seen) for step in users]}

    def _user(self, step: Step, seen: set[Step]) -> Node:
        if step in seen:
            return {"stage": step.stage, "again": True}
        seen.add(step)
        return {**self._facts(step), "writes": [self._down(file, step, seen) for file in step.writes]}

    def _facts(self, step: Step) -> Node:
        commits = sorted(place for place in step.places if place != WORKSPACE and " " not in place)
        return {"stage": step.stage, "commits": commits, "runs": self._made(step)}

    def _made(self, step: Step) -> list[Node]:
        """The runs of a step: who its output says made it, and what the store has."""
        if step not in self._runs:
            found = {run.info.run_id: facts(run) for run in self.records.made(step)} if self.records else {}
            named = maker_in_cache(self.repo, self.root, step)
            if named and named not in found:
                found = {named: RunFacts(named), **found}
            self._runs[step] = [run.plain() for run in found.values()]
        return self._runs[step]
