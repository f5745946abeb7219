"""Names by which a person tells runs apart."""

from __future__ import annotations

from collections.abc import Mapping

from avsa.resolve import Resolved

ELSEWHERE = ("base", "dataset", "pipeline", "tracking", "engine")
"""Sections whose values are chosen for the machine or the whole pipeline, not for one run."""
MOST = 3  # values in a name: a params.yaml that chooses more tells nothing by them
LONGEST = 16  # characters of a value


def run_name(name: str, resolved: Resolved, tags: Mapping[str, str]) -> str:
    """``avsa-0 temperature=0.1 @puffy-sloth``: the stage's name, up to three values chosen beside the overlay, DVC's
    name of the experiment, else the commit (with ``+`` where files differ from it)."""
    chosen = [
        f"{path.rpartition('.')[2]}={value if len(str(value)) <= LONGEST else '...'}"
        for path, value in resolved.flat().items()
        if path.partition(".")[0] not in ELSEWHERE and resolved.origin(path) in ("--set", "params.yaml")
    ]
    place = tags.get("dvc.exp") or tags.get("git.commit", "")[:7] + "+" * (tags.get("git.dirty") == "True")
    full = " ".join([name, *(chosen if len(chosen) <= MOST else [])])
    return f"{full} @{place}" if place else full
