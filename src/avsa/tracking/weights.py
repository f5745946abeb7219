"""A file that DVC holds, found by its hash: in a project, in its cache, in its remote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avsa.errors import UserError
from avsa.tracking.recorder import md5_of


def find_file(path: str, md5: str, projects: Iterable[Path]) -> Path:
    """Where a file of this hash lies; of a remote it is fetched into the project's cache first.

    Args:
        path: where it lay in the project that made it.
        projects: folders with ``.dvc``, in the order to look.

    Raises:
        UserError: none of them has it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    tried = []
    for project in dict.fromkeys(folder.resolve() for folder in projects):
        if (project / path).is_file() and md5_of(project / path) == md5:
            return project / path
        if not (project / ".dvc").is_dir():
            continue
        with Repo(str(project)) as repo:
            cached = Path(repo.cache.local.oid_to_path(md5))
            if not cached.exists() and repo.config["core"].get("remote"):
                try:
                    repo.cloud.pull([HashInfo("md5", md5)])
                except DvcException as error:
                    tried.append(f"{project} (its remote: {error})")
                    continue
            if cached.exists():
                return cached
        tried.append(str(project))
    raise UserError(
        f"{path} with the hash {md5} is in none of {', '.join(tried) or 'the project folders'}: set AVSA_PROJECT to a "
        "clone whose remote has it, or run dvc pull there"
    )
