"""The verb ``doctor``: what could stop a run, or spoil its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from avsa.doctor.check import PROBLEM
from avsa.doctor.examination import examination
from avsa.resolve import Resolved


def run_doctor(
    resolved: Resolved, image: str | None, docker_args: Sequence[str], as_json: bool, say: Callable[[str], None]
) -> bool:
    """Say a line for each finding as it comes, or all as JSON; whether there is no problem.

    Raises:
        UserError: a folder that names no image.
    """
    found = []
    for subject, finding in examination(resolved.config, image, docker_args):
        found.append({"subject": subject, "level": finding.level, "text": finding.text, "mend": finding.mend})
        if not as_json:
            mend = f" -> {finding.mend}" if finding.mend else ""
            say(f"{finding.level:<8} {subject:<12} {finding.text}{mend}")
    if as_json:
        say(json.dumps(found, indent=1, ensure_ascii=False))
    return all(item["level"] != PROBLEM for item in found)
