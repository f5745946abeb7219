"""Names by which a person tells runs apart."""

from __future__ import annotations

from collections.abc import Mapping

from avsa.resolve import Resolved

ELSEWHERE = ("base", "dataset", "pipeline", "tracking", "engine")
"""Sections whose values are chosen for the machine or the whole pipeline, not for one run."""
CURRICULA = "pretrain.runs."
"""What only the runs of this name are made by."""
MOST = 3  # values in a name: a params.yaml that chooses more tells nothing by them
LONGEST = 32  # characters of a value


def run_name(name: str, resolved: Resolved, tags: Mapping[str, str]) -> str:
    """``avsa-0 temperature=0.1 @puffy-sloth``: the stage's name, up to three values chosen beside the overlay, DVC's
    name of the experiment, else the commit (with ``+`` where files differ from it)."""
    chosen = [
        f"{path.rpartition('.')[2]}={shown}"
        for path, value in resolved.flat().items()
        if path.partition(".")[0] not in ELSEWHERE
        and resolved.origin(path) in ("--set", "params.yaml")
        and (not path.startswith(CURRICULA) or name.startswith(path.removeprefix(CURRICULA) + "-"))
        and len(shown := _short(value)) <= LONGEST
    ]
    place = tags.get("dvc.exp") or tags.get("git.commit", "")[:7] + "+" * (tags.get("git.dirty") == "True")
    full = " ".join([name, *(chosen if len(chosen) <= MOST else [])])
    return f"{full} @{place}" if place else full


def _short(value: object) -> str:
    """A value in one word; of phases, which objective for how many epochs: ``hard-only*3+avsa*5``."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and "objective" in item for item in value):
        return "+".join(f"{phase['objective']}*{phase['epochs']}" for phase in value)
    return str(value)
