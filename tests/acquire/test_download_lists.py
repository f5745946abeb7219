"""The lists of YT-360 come from their public repository, at one revision, by `dvc pull`; none is in this one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LISTS = ROOT / "data" / "lists"
SHARED = Path(os.environ.get("AVSA_SHARED_DATA", ROOT.parent / "shared" / "data")) / "yt360"
URL = "https://github.com/pedro-morgado/AVSpatialAlignment"
REVISION = "817a8cf967a88c1ebb9ef13b21cc3e887e8c45d6"
PATHS = {
    **{f"{name}.txt": f"datasets/assets/yt360/{name}.txt" for name in ("train", "test", "segments")},
    **{
        f"segmentation-{name}.txt": f"datasets/assets/segm-meta/segmentation-{name}.txt"
        for name in ("classes", "filtered-class-idx")
    },
}


def imported(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((LISTS / "yt360" / f"{name}.dvc").read_text())
    return content


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PATHS)
def test_an_import_names_its_source(name: str) -> None:
    (source,) = imported(name)["deps"]
    assert source["repo"] == {"url": URL, "rev": REVISION, "rev_lock": REVISION}
    assert source["path"] == PATHS[name]
    (output,) = imported(name)["outs"]
    assert output["path"] == name
    assert len(output["md5"]) == 32
    assert output["size"] > 0
    assert imported(name)["frozen"] is True


@pytest.mark.parametrize("name", PATHS)
def test_hashes_are_those_of_the_published_files(name: str) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"no copy of the published lists in {SHARED}")
    payload = (SHARED / name).read_bytes()
    (output,) = imported(name)["outs"]
    assert (output["md5"], output["size"]) == (hashlib.md5(payload).hexdigest(), len(payload))


def test_git_keeps_the_imports_and_not_the_lists() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    kept = set(run(ROOT, "git", "ls-files", "data").split())
    wanted = {f"data/lists/yt360/{name}.dvc" for name in PATHS}
    assert kept == wanted | {f"data/lists/{name}" for name in (".dvc/.gitignore", ".dvc/config", "yt360/.gitignore")}
    ignored = [f"data/lists/yt360/{name}" for name in PATHS]
    assert run(ROOT, "git", "check-ignore", *ignored).split() == ignored


def test_a_pull_brings_the_files(tmp_path: Path) -> None:
    """With a local repository in the place of the public one; its commit in the place of the published revision."""
    origin, project = tmp_path / "origin", tmp_path / "project"
    contents = {name: f"{name}\n" * 3 for name in PATHS}
    for name, text in contents.items():
        (origin / PATHS[name]).parent.mkdir(parents=True, exist_ok=True)
        (origin / PATHS[name]).write_text(text)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost")
    run(origin, "git", "init", "-q")
    run(origin, "git", "add", "-A")
    run(origin, *git, "commit", "-q", "-m", "lists")
    commit = run(origin, "git", "rev-parse", "HEAD").strip()

    shutil.copytree(LISTS, project / "data" / "lists", ignore=shutil.ignore_patterns("*.txt", "cache", "tmp"))
    for name, text in contents.items():
        file = project / "data" / "lists" / "yt360" / f"{name}.dvc"
        known = imported(name)
        known["deps"][0]["repo"].update(rev=commit, rev_lock=commit)
        known["outs"][0].update(md5=hashlib.md5(text.encode()).hexdigest(), size=len(text))
        file.write_text(yaml.safe_dump(known))
    (tmp_path / ".gitconfig").write_text(f'[url "{origin}"]\n\tinsteadOf = {URL}\n')
    environment = {"HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc")}
    run(project, "git", "init", "-q")
    run(project, sys.executable, "-m", "dvc", "init", "-q", **environment)
    run(project, sys.executable, "-m", "dvc", "--cd", "data/lists", "pull", "-q", **environment)

    assert {name: (project / "data" / "lists" / "yt360" / name).read_text() for name in PATHS} == contents
    untracked = run(project, "git", "status", "--short", "--untracked-files=all")
    assert ".txt\n" not in untracked
    # The pipeline's project does not see the imports: its experiments would fetch them, and fail without a network.
    assert "imports none" in run(
        project,
        *(sys.executable, "-c"),
        "from dvc.repo import Repo; print('imports', *(stage.addressing for stage in Repo('.').index.stages), 'none')",
        **environment,
    )
