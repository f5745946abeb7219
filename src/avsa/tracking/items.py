"""What a stage reads and writes, with the hashes that DVC knows it by."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.errors import UserError

if TYPE_CHECKING:
    from dvc.repo import Repo

DATA, CODE, OUTPUT = "data", "code", "output"


@dataclass(frozen=True)
class Item:
    """A file or folder of the project."""

    path: str  # relative to the project folder
    hash: str  # as in dvc.lock: md5, with ".dir" behind it for a folder
    role: str  # data, code (what git holds), output

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StageFiles:
    """Paths of a stage: of dvc.yaml where DVC started this process, else those that the verb names."""

    root: Path
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def inputs(self) -> list[Item]:
        """What is there of the inputs, hashed; data before code."""
        code = _in_git(self.root, self.reads)
        found = _hashed(self.root, [(path, CODE if path in code else DATA) for path in self.reads])
        return sorted(found, key=lambda item: (item.role == CODE, item.path))

    def outputs(self) -> list[Item]:
        """What is there of the outputs, hashed. DVC, which hashes them next, finds the work done."""
        return _hashed(self.root, [(path, OUTPUT) for path in self.writes])


def stage_files(reads: Sequence[Path], writes: Sequence[Path]) -> StageFiles | None:
    """The files of this process's stage; None outside of a DVC project, where nothing is known by hash.

    Raises:
        UserError: DVC cannot read the stage that it says it runs.
    """
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / ".dvc").is_dir()), None)
    if root is None:
        return None
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        ours = [[Path(os.path.relpath(path, root)).as_posix() for path in paths] for paths in (reads, writes)]
        return StageFiles(root, tuple(ours[0]), tuple(ours[1]))
    from dvc.dependency import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            found = repo.stage.load_one(*_address(root, stage))
            reads_ = [_relative(repo, dep.fs_path) for dep in found.deps if not isinstance(dep, ParamsDependency)]
            return StageFiles(root, tuple(reads_), tuple(_relative(repo, out.fs_path) for out in found.outs))
    except (DvcException, KeyError) as error:
        raise UserError(f"the stage {stage} (DVC_STAGE) cannot be read from dvc.yaml: {error}") from None


def hash_of(path: Path, root: Path) -> str | None:
    """DVC's hash of a file or folder; None where there is nothing."""
    found = _hashed(root, [(os.path.relpath(path, root), DATA)])
    return found[0].hash if found else None


def _address(root: Path, stage: str) -> tuple[str, str]:
    """File and name of what DVC_STAGE holds: ``name``, or ``folder/dvc.yaml:name`` for a stage of another folder."""
    file, _, name = stage.rpartition(":")
    return str(root / (file or "dvc.yaml")), name


def _relative(repo: Repo, path: str) -> str:
    return Path(os.path.relpath(path, repo.root_dir)).as_posix()


def _hashed(root: Path, wanted: Iterable[tuple[str, str]]) -> list[Item]:
    """Items of the paths that exist. DVC remembers the hashes of files that did not change."""
    there = [(path, role) for path, role in wanted if (root / path).exists()]
    if not there:
        return []
    from dvc.repo import Repo
    from dvc_data.hashfile.build import build

    with Repo(str(root)) as repo:
        hashes = [
            build(repo.cache.local, str(root / path), repo.fs, "md5", dry_run=True, ignore=repo.dvcignore)[2].hash_info
            for path, _ in there
        ]
    return [Item(path, str(found.value), role) for (path, role), found in zip(there, hashes, strict=True)]


def _in_git(root: Path, paths: Sequence[str]) -> set[str]:
    """Those of which git holds something."""
    command = ["git", "ls-files", "-z", "--", *paths]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {path for path in paths if any(name == path or name.startswith(f"{path}/") for name in listed)}
