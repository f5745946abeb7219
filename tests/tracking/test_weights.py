"""A file by its hash: from the workspace, from DVC's cache, from its remote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from dvc.repo import Repo

from avsa.errors import UserError
from avsa.tracking.weights import find_file


def test_where_a_file_is_found(tmp_path: Path) -> None:
    project, remote = tmp_path / "project", tmp_path / "remote"
    project.mkdir()
    Repo.init(str(project), no_scm=True).close()
    (project / ".dvc/config").write_text(
        f"[core]\n    no_scm = True\n    remote = r\n['remote \"r\"']\n    url = {remote}\n"
    )
    content = b"weights"
    md5 = hashlib.md5(content).hexdigest()
    name = "checkpoints/avsa-0/network.pt"
    place = project / name
    place.parent.mkdir(parents=True)

    def find() -> Path:
        return find_file(name, md5, [tmp_path / "elsewhere", project, project])

    with pytest.raises(UserError, match=r"network\.pt with the hash .* is in none of .*project.* AVSA_PROJECT"):
        find()
    stored = remote / "files/md5" / md5[:2] / md5[2:]
    stored.parent.mkdir(parents=True)
    stored.write_bytes(content)
    cached = project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    assert find() == cached
    assert cached.read_bytes() == content
    place.write_bytes(b"another version")
    assert find() == cached
    place.write_bytes(content)
    assert find() == place
