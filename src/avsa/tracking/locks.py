"""What dvc.lock says of the stages that ran: of the workspace, and of every commit and experiment that git knows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

WORKSPACE = "workspace"
LOCK = "dvc.lock"
File = tuple[str, str]
"""Path relative to the project, and DVC's hash."""


@dataclass(frozen=True)
class Step:
    """One execution of a stage: what it read and wrote."""

    stage: str
    reads: tuple[File, ...]
    writes: tuple[File, ...]
    params: dict[str, Any] = field(default_factory=dict, compare=False)
    places: set[str] = field(default_factory=set, compare=False)  # commits whose dvc.lock has it; or the workspace


def workspace_steps(root: Path) -> list[Step]:
    """The steps of the workspace's dvc.lock; none without one."""
    path = root / LOCK
    return list(parse_lock(path.read_text(encoding="utf-8"), WORKSPACE)) if path.exists() else []


def imported_steps(root: Path) -> list[Step]:
    """What ``dvc add`` and ``dvc import`` brought: a step for each .dvc file that git holds."""
    steps = []
    for name in _git(root, "ls-files", "-z", "--", "*.dvc").split("\0"):
        if name and (root / name).is_file():
            content = yaml.safe_load((root / name).read_text(encoding="utf-8")) or {}
            folder = Path(name).parent
            writes = [((folder / path).as_posix(), hash_) for path, hash_ in _files(content.get("outs", []))]
            sources = [dep.get("repo", {}) for dep in content.get("deps", [])]
            reads = [(repo["url"], str(repo.get("rev_lock", ""))) for repo in sources if "url" in repo]
            steps.append(Step(name, tuple(sorted(reads)), tuple(sorted(writes)), places={WORKSPACE}))
    return steps


def history_steps(root: Path) -> list[Step]:
    """The steps of every commit that git holds, of branches, tags and DVC's experiments, each step once."""
    commits = _git(root, "log", "--all", "--format=%H", "--", LOCK).split()
    seen: dict[str, list[Step]] = {}
    steps: dict[Step, Step] = {}
    for commit in commits:
        blob = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}:{LOCK}").strip()
        if not blob:  # the commit removes it
            continue
        if blob not in seen:
            seen[blob] = list(parse_lock(_git(root, "cat-file", "blob", blob), commit[:12]))
        for step in seen[blob]:
            steps.setdefault(step, step).places.update(step.places | {commit[:12]})
    return list(steps.values())


def merged(steps: Iterable[Step]) -> list[Step]:
    """Equal steps as one, with the places of all."""
    found: dict[Step, Step] = {}
    for step in steps:
        found.setdefault(step, step).places.update(step.places)
    return list(found.values())


def parse_lock(text: str, place: str) -> Iterator[Step]:
    """The steps of a dvc.lock's content."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(text, loader) or {}
    for name, stage in content.get("stages", {}).items():
        reads, writes = (tuple(sorted(_files(stage.get(key, [])))) for key in ("deps", "outs"))
        yield Step(name, reads, writes, stage.get("params", {}), {place})


def _files(entries: list[dict[str, Any]]) -> Iterator[File]:
    for entry in entries:
        yield entry["path"], str(entry.get("md5") or entry.get("etag") or entry.get("checksum") or "")


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else ""
