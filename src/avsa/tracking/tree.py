"""Chains as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from avsa.tracking.chain import Node

SHOWN = 4  # of a list


def tree(node: Node) -> Iterator[str]:
    """Lines: the file, what it was made from, what was made of it."""
    yield _file(node)
    branches = [("made by", step, _maker) for step in node["made_by"]] + [
        ("used by", step, _user) for step in node["used_by"]
    ]
    if not node["made_by"]:
        yield ("├─ " if branches else "└─ ") + "made by no stage: a source"
    for number, (word, step, below) in enumerate(branches, start=1):
        yield from _branch(f"{word} {_step(step)}", below(step), last=number == len(branches))


def _maker(step: Node) -> list[tuple[str, Any]]:
    """What a step read, each with what made it."""
    if step.get("again"):
        return []
    below = [(_file(file), [(f"made by {_step(s)}", _maker(s)) for s in file["made_by"]]) for file in step["reads"]]
    if step["code"]:
        below.append((f"code and sources: {_some([file['path'] for file in step['code']])}", []))
    if sections := [key for keys in step["params"].values() for key in keys]:
        below.append((f"parameters: {_some(sections)}", []))
    return below


def _user(step: Node) -> list[tuple[str, Any]]:
    """What a step wrote, each with what used it."""
    if step.get("again"):
        return []
    return [(_file(file), [(f"used by {_step(s)}", _user(s)) for s in file["used_by"]]) for file in step["writes"]]


def _branch(text: str, below: list[tuple[str, Any]], last: bool) -> Iterator[str]:
    yield ("└─ " if last else "├─ ") + text
    for number, (name, under) in enumerate(below, start=1):
        for line in _branch(name, under, last=number == len(below)):
            yield ("   " if last else "│  ") + line


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _file(node: Node) -> str:
    return f"{node['path']}  {node['hash'][:12]}{'.dir' * node['hash'].endswith('.dir')}"


def _step(step: Node) -> str:
    if step.get("again"):
        return f"{step['stage']} (above)"
    runs = [_run(run) for run in step["runs"]] or ["no run is known"]
    more = f" and {len(runs) - 3} more runs" if len(runs) > 3 else ""
    return f"{step['stage']}: " + "; ".join(runs[:3]) + more


def _run(run: Node) -> str:
    started = datetime.fromtimestamp(run["started_ms"] / 1000).strftime("%Y-%m-%d %H:%M") if "started_ms" in run else ""
    commit = run.get("commit", "")[:7] + "+" * run.get("dirty", False)
    name = run.get("name", "")
    parts = ["restored from the cache" if "restored" in run else "run", run["id"][:12], name]
    parts += [run.get("status", "of another tracking store"), started, f"commit {commit}" * (commit not in name)]
    return " ".join(part for part in parts if part)
