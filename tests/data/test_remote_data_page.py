"""Every command of docs/remote-data.md, run on a real server; and what DVC says when it fails."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from data_clips import FPS, RATE, ordinary_clip, write_store
from object_store import KEYS, ObjectStore, object_store

from avsa.clips.store import ClipStore
from avsa.config import Audio, Views
from avsa.data.statistics import Statistics, compute_statistics

PAGE = (Path(__file__).parents[2] / "docs" / "remote-data.md").read_text(encoding="utf-8")
VIEWS = {"size": 16, "frames": 3, "audio_s": 0.5, "crops": 2}
STORE = Path("data/clips/mine")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as server:
        yield server


class Project:
    """A repository of git and DVC in which commands are run."""

    def __init__(self, folder: Path, server: ObjectStore) -> None:
        self.folder, self.keys, self.url = folder, KEYS, server.url
        write_store(folder / STORE, [ordinary_clip(i) for i in range(3)])
        chosen = {"views": VIEWS, "clips": {"clip_s": 2.5, "fps": FPS, "sample_rate": RATE}}
        (folder / "params.yaml").write_text(yaml.safe_dump(chosen))
        assert self.run("git init -q && dvc init -q && git commit -qm start").returncode == 0

    def run(self, commands: str) -> subprocess.CompletedProcess[str]:
        """In bash, up to the first command that fails."""
        ours = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "DVC_", "MLFLOW_", "GIT_"))
        }
        who = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        nobody = self.folder.with_name(f"{self.folder.name}-no-keys")
        nobody.touch()
        aws = {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}
        files = {"AWS_CONFIG_FILE": str(nobody), "AWS_SHARED_CREDENTIALS_FILE": str(nobody)}
        dvc = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder / ".git" / "dvc")}
        path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        environment = {**ours, **who, **aws, **files, **dvc, **path, **self.keys}
        command = ["bash", "-ec", commands]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def store(self) -> dict[str, bytes]:
        """What is in the clip store."""
        return {path.name: path.read_bytes() for path in (self.folder / STORE).iterdir()}


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def test_every_command_of_the_page(server: ObjectStore, tmp_path: Path) -> None:
    project, client = Project(tmp_path, server), server.client()
    before = project.store()
    for bucket in ("my-bucket", "my-versioned-bucket"):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket="my-versioned-bucket", VersioningConfiguration={"Status": "Enabled"})
    *preparing, in_place = blocks()
    assert len(preparing) == 5
    for number, commands in enumerate(preparing):
        done = project.run(commands)
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        assert project.store() == before
        if number == 2:
            assert "3 files fetched" in done.stdout  # the list of the folder, and the two files
    local = ClipStore(tmp_path / STORE, "train")
    expected = compute_statistics(
        local, Views.model_validate(VIEWS), Audio(), 0, tmp_path / "expected.npz", progress=False
    )
    assert project.run(f"rm -r {STORE} .dvc/cache").returncode == 0
    done = project.run(in_place)
    assert done.returncode == 0, done.stderr
    found = Statistics.load(tmp_path / "data/statistics/mine.npz")
    assert (found.mean_CM == expected.mean_CM).all()
    assert (found.std_CM == expected.std_CM).all()
    copied = [item["Key"] for item in client.list_objects_v2(Bucket="my-bucket", Prefix="clips/")["Contents"]]
    assert sorted(copied) == [f"clips/mine/{name}" for name in sorted(before)]


def test_what_dvc_says_and_that_nothing_is_lost(server: ObjectStore, tmp_path: Path) -> None:
    """A bucket that is not there yet, keys that are refused, the same command again, a bucket that vanishes."""
    project = Project(tmp_path, server)
    before = project.store()
    assert project.run(f"dvc add {STORE} && dvc remote add --default storage s3://gone/avsa").returncode == 0
    assert row("`dvc push` to a bucket") in refused(project, "dvc push")
    server.client().create_bucket(Bucket="gone")
    with server.guarded() as right:
        for keys in ({**right, "AWS_SECRET_ACCESS_KEY": "wrong"}, dict[str, str]()):
            project.keys = keys
            assert row("a wrong secret" if keys else "without credentials") in refused(project, "dvc push")
        assert project.store() == before
        project.keys = right
        assert project.run("dvc push").returncode == 0
    server.remove_bucket("gone")
    assert row("`dvc pull` from one") in refused(project, f"rm -r {STORE} .dvc/cache; dvc pull")


def refused(project: Project, commands: str) -> str:
    """What a command that fails says."""
    done = project.run(commands)
    assert done.returncode != 0
    return done.stderr


def row(part: str) -> str:
    """What the page's table says that DVC prints."""
    found = re.search(rf"^\| [^|]*{part}[^|]*\| `([^`]+)` \|$", PAGE, re.MULTILINE)
    assert found, part
    return found[1]
