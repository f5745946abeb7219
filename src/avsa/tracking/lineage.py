"""From a file, a hash, a run or a model to the whole chain behind it and after it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avsa.errors import UserError
from avsa.tracking.chain import Chains, Node
from avsa.tracking.graph import Graph
from avsa.tracking.items import hash_of
from avsa.tracking.locks import File, Step, history_steps, imported_steps, merged, workspace_steps
from avsa.tracking.records import Records, step_of

if TYPE_CHECKING:
    from dvc.repo import Repo

_RUN_ID, _HASH = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{6,32}(\.dir)?")


@dataclass
class Lineage:
    """Chains in a project; ``records`` is None where the store cannot be reached, which leaves runs' ids alone."""

    root: Path
    repo: Repo
    records: Records | None
    history: bool = False  # look at all commits and experiments, not at the workspace alone
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        steps = [*workspace_steps(self.root), *imported_steps(self.root)]
        self.graph = Graph(merged([*steps, *history_steps(self.root)]) if self.history else steps)

    def of(self, target: str) -> list[Node]:
        """The chains of a path, a hash or the beginning of one, a run's id, or a registered model (``name``,
        ``name/2``, ``name@best``).

        Raises:
            UserError: nothing of that name, or several hashes that begin so.
        """
        found = self._resolve(target)
        if not found and not self.history:  # what the workspace does not know, another commit may
            self.history = True
            self.graph = Graph(merged([*self.graph.steps, *history_steps(self.root)]))
            found = self._resolve(target)
        if not found:
            raise UserError(
                f"{target}: no file of the pipeline, hash, run or registered model of that name in dvc.lock, in git's "
                "history or in the tracking store"
            )
        chains = Chains(self.root, self.repo, self.graph, self.records)
        return [chains.of(file, step) for file, step in found]

    def _resolve(self, target: str) -> list[tuple[File, Step | None]]:
        return self._path(target) or self._hash(target) or self._run(target) or self._model(target)

    def _path(self, target: str) -> list[tuple[File, Step | None]]:
        path = Path(target)
        inside = path.resolve()
        name = inside.relative_to(self.root).as_posix() if inside.is_relative_to(self.root) else target
        found: list[tuple[File, Step | None]] = list(self.graph.find(name))
        if found or not path.exists():
            return list({file: (file, step) for file, step in found}.values())
        hash_ = hash_of(path.resolve(), self.root)  # a copy somewhere else is known by its bytes
        return self._hash(hash_) if hash_ else []

    def _hash(self, target: str) -> list[tuple[File, Step | None]]:
        if not _HASH.fullmatch(target):
            return []
        files = self.graph.with_hash(target)
        if len({hash_ for _, hash_ in files}) > 1:
            shown = ", ".join(sorted({hash_ for _, hash_ in files})[:4])
            raise UserError(f"{target}: several hashes begin so: {shown}")
        if not files and self.records:
            for run in self.records.that_touched(target):
                self.graph.add(step_of(run))
            files = self.graph.with_hash(target)
        return [(file, next(iter(self.graph.makers(file)), None)) for file in files[:1]]

    def _run(self, target: str) -> list[tuple[File, Step | None]]:
        from mlflow.exceptions import MlflowException

        if not self.records or not _RUN_ID.fullmatch(target):
            return []
        with suppress(MlflowException):
            run = self.records.client.get_run(target)
            maker = run.data.tags.get("mlflow.parentRunId") if "avsa.phase" in run.data.tags else None
            step = step_of(self.records.client.get_run(maker) if maker else run)
            known = next((s for s in self.graph.steps if s.stage == step.stage and s.writes == step.writes), None)
            if known is None:
                self.graph.add(step)
            if not step.writes:
                raise UserError(
                    f"run {target} recorded no outputs (it ended {run.info.status}); it read: "
                    + (", ".join(f"{path} {hash_}" for path, hash_ in step.reads) or "nothing that DVC knows")
                )
            return [(file, known or step) for file in step.writes]
        return []

    def _model(self, target: str) -> list[tuple[File, Step | None]]:
        from mlflow.exceptions import MlflowException

        if not self.records:
            return []
        client = self.records.client
        name, at, version = target.removeprefix("models:/").replace("@", "/@").partition("/")
        with suppress(MlflowException):
            if version.startswith("@"):
                found = client.get_model_version_by_alias(name, version[1:])
            elif at:
                found = client.get_model_version(name, version)
            else:
                versions = client.search_model_versions(f"name = '{name}'")
                found = max(versions, key=lambda one: int(one.version), default=None)  # type: ignore[assignment]
            return self._run(found.run_id or "") if found else []
        return []


def changed(root: Path, file: File) -> bool:
    """Whether what lies in the workspace is not what the pipeline recorded."""
    there = hash_of(root / file[0], root)
    return there is not None and there != file[1]
