"""Whether git can say which code a run ran."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from avsa.doctor.check import OK, WARNING, Finding
from avsa.tracking.environment import code_version


def code(folder: Path) -> Iterator[Finding]:
    """A run's record names a commit; what differs from it is in no history."""
    if shutil.which("git") is None:
        yield Finding(WARNING, "git is not installed: runs are recorded without a commit", "install git")
        return
    found = code_version(folder)
    if not found:
        mend = f"git clone it; if it is another user's: git config --global --add safe.directory {folder}"
        yield Finding(WARNING, f"{folder} is in no git repository: runs are recorded without a commit", mend)
    elif found["git.dirty"] == "True":
        text = f"files differ from commit {found['git.commit'][:7]} or are new: what runs is in no history"
        yield Finding(WARNING, text, "git commit, or .gitignore (git status shows them)")
    else:
        yield Finding(OK, f"clean at commit {found['git.commit'][:7]}")
