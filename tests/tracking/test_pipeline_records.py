"""A toy pipeline through the real dvc: what its runs record, in all the ways of running it, and what lineage says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_stage
from dvc.repo import Repo
from mlflow import MlflowClient
from mlflow.entities import Run

from avsa.errors import UserError
from avsa.tracking.lineage import Lineage, changed
from avsa.tracking.records import RESTORED, Records, outputs
from avsa.tracking.restored import record_restored
from avsa.tracking.tree import tree

HERE = Path(__file__).parent


@dataclass
class Project:
    """A git and DVC project with the toy pipeline, and its tracking store."""

    folder: Path
    socket: Path
    env: dict[str, str]

    def dvc(self, *arguments: str, forked: bool = True) -> str:
        zygote = ["-S", str(HERE / "zygote.py"), str(self.socket), "dvc"]
        command = [sys.executable, *(zygote if forked else ["-m", "dvc"]), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, check=True
        ).stdout.strip()

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, stage: str | None = None) -> list[Run]:
        """Oldest first."""
        experiment = self.client.get_experiment_by_name("avsa")
        assert experiment is not None
        wanted = f"tags.`dvc.stage` = '{stage}'" if stage else ""
        found = self.client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"])
        return list(found)

    def lock(self) -> dict[str, Any]:
        import yaml

        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])

    def lineage(self, target: str, history: bool = False, records: bool = True) -> list[dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patch, Repo(str(self.folder)) as repo:
            patch.chdir(self.folder)
            return Lineage(self.folder, repo, Records(self.client) if records else None, history).of(target)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    address = tmp_path_factory.mktemp("zygote") / "s"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "zygote.py"), str(address)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, zygote: Path) -> Project:
    """The pipeline has run once and is committed."""
    folder = tmp_path_factory.mktemp("toy").resolve()
    who = {f"GIT_{role}_{what}": "toy@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its workers call dvc by name
    project = Project(folder, zygote, {**env, **who, "DVC_NO_ANALYTICS": "1", "PATH": path})
    ask = f"{sys.executable} -S {HERE / 'zygote.py'} {zygote}"
    for name, content in toy_stage.FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content.format(ask=ask) if name == "dvc.yaml" else content)
    project.git("init", "-q", ".")
    project.dvc("init", "-q")
    project.dvc("config", "core.analytics", "false")
    project.git("add", ".")
    project.git("commit", "-qm", "toy")
    project.dvc("repro")
    project.git("add", "dvc.lock", "reports")
    project.git("commit", "-qm", "first")
    return project


def items(run: Run) -> dict[str, dict[str, str]]:
    """Role -> path -> hash of what a run recorded."""
    found: dict[str, dict[str, str]] = {}
    assert run.inputs is not None
    for item in run.inputs.dataset_inputs:
        role = next(tag.value for tag in item.tags if tag.key == "mlflow.data.context")
        found.setdefault(role, {})[item.dataset.name] = item.dataset.digest
    return found


def test_a_run_records_what_dvc_locks(project: Project) -> None:
    """Data sets of the runs are the dependencies and outputs in dvc.lock, hash for hash."""
    locked = project.lock()
    assert [run.data.tags["dvc.stage"] for run in project.runs()] == ["data", "train@0", "report"]
    for run in project.runs():
        assert run.info.status == "FINISHED"
        entry = locked[run.data.tags["dvc.stage"]]
        found = items(run)
        assert found["output"] == {out["path"]: out["md5"] for out in entry["outs"]}
        reads = {**found.get("data", {}), **found.get("code", {})}
        assert reads == {dep["path"]: dep["md5"] for dep in entry["deps"]}
    (train,) = project.runs("train@0")
    assert items(train)["code"].keys() == {"code"}
    assert items(train)["data"].keys() == {"data/numbers"}
    tags = train.data.tags
    assert tags["git.commit"] == project.git("rev-parse", "HEAD~1")
    assert {"env.torch", "env.python", "env.machine", "env.lock"} <= tags.keys()
    assert train.data.params["arg.seed"] == "0"


def test_a_checkpoint_is_known_by_reference_and_not_uploaded(project: Project) -> None:
    (train,) = project.runs("train@0")
    (model,) = project.client.search_logged_models([train.info.experiment_id], filter_string="name = 'toy-0'")
    assert model.source_run_id == train.info.run_id
    network = project.folder / "checkpoints/toy-0/network.pt"
    listing = json.loads((project.folder / ".dvc/cache/files/md5" / cached(project.lock()["train@0"])).read_text())
    assert model.tags["dvc.md5"] == next(item["md5"] for item in listing if item["relpath"] == "network.pt")
    assert model.tags["dvc.path"] == "checkpoints/toy-0/network.pt"
    assert train.outputs is not None
    assert model.metrics is not None
    assert [output.model_id for output in train.outputs.model_outputs] == [model.model_id]
    assert {(m.key, m.step, m.value) for m in model.metrics} == {("train/loss", 3, 1 / 3)}
    history = project.client.get_metric_history(train.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]  # none of them twice
    kept = [path for path in (project.folder / "mlartifacts").rglob("*") if path.is_file()]
    assert not [path for path in kept if path.read_bytes() == network.read_bytes()]


def cached(entry: dict[str, Any]) -> str:
    hash_ = entry["outs"][0]["md5"]
    return f"{hash_[:2]}/{hash_[2:]}"


def test_lineage_of_a_file_goes_both_ways(project: Project) -> None:
    (train,) = project.runs("train@0")
    for target in ("checkpoints/toy-0", "checkpoints/toy-0/network.pt", train.info.run_id):
        (chain,) = project.lineage(target)
        assert chain["path"] == "checkpoints/toy-0"
        (maker,) = chain["made_by"]
        assert maker["stage"] == "train@0"
        assert [run["id"] for run in maker["runs"]] == [train.info.run_id]
        assert [file["path"] for file in maker["code"]] == ["code"]
        assert maker["params"] == {"params.yaml": {"rate": 1}}
        (numbers,) = maker["reads"]
        assert [step["stage"] for step in numbers["made_by"]] == ["data"]
        (user,) = chain["used_by"]
        assert user["stage"] == "report"
        assert [file["path"] for file in user["writes"]] == ["reports/metrics.json", "reports/table.json"]
    hash_ = project.lock()["data"]["outs"][0]["md5"]
    (from_hash,) = project.lineage(hash_[:10])
    assert from_hash["hash"] == hash_
    assert [step["stage"] for step in from_hash["used_by"]] == ["train@0"]
    assert json.loads(json.dumps(from_hash)) == from_hash


def test_lineage_as_a_tree(project: Project) -> None:
    runs = {run.data.tags["dvc.stage"]: run.info.run_id[:12] for run in project.runs()}
    lines = list(tree(project.lineage("data/numbers")[0]))
    assert lines[0].startswith("data/numbers  ")
    assert lines[1].startswith(f"├─ made by data: run {runs['data']} data")
    assert lines[2] == "│  ├─ code and sources: code"
    assert lines[3] == "│  └─ parameters: size"
    assert lines[4].startswith(f"└─ used by train@0: run {runs['train@0']} toy-0")
    assert lines[5].startswith("   └─ checkpoints/toy-0  ")
    assert lines[6].startswith(f"      └─ used by report: run {runs['report']} report")


def test_what_lineage_does_not_know(project: Project) -> None:
    for target in ("nothing.txt", "0" * 32, "abcdef", "model@best"):
        with pytest.raises(UserError, match="no file of the pipeline, hash, run or registered model"):
            project.lineage(target)


def test_without_a_store_outputs_say_who_made_them(project: Project) -> None:
    (train,) = project.runs("train@0")
    (chain,) = project.lineage("checkpoints/toy-0", records=False)
    assert chain["made_by"][0]["runs"] == [{"id": train.info.run_id}]


def test_a_copy_is_known_by_its_bytes_and_a_changed_file_is_told(project: Project) -> None:
    copy = project.folder / "copy.json"
    shutil.copyfile(project.folder / "reports/metrics.json", copy)
    try:
        (chain,) = project.lineage("copy.json")
        assert chain["path"] == "reports/metrics.json"
        assert not changed(project.folder, (chain["path"], chain["hash"]))
    finally:
        copy.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        assert changed(project.folder, ("reports/metrics.json", "0" * 32))
        assert not changed(project.folder, ("no/such/file", "0" * 32))


def test_experiments_of_every_kind_land_in_the_same_store(project: Project) -> None:
    before = len(project.runs())
    project.dvc("exp", "run", "-n", "here", "-S", "rate=2")
    project.git("checkout", "-q", ".")
    project.dvc("exp", "run", "--temp", "-n", "aside", "-S", "rate=3")
    project.dvc("exp", "run", "--queue", "-n", "later", "-S", "rate=4")
    project.dvc("exp", "run", "--run-all", forked=False)  # it starts workers of its own
    made = project.runs()[before:]
    trained = {run.data.tags["dvc.exp"]: run for run in made if run.data.tags["dvc.stage"] == "train@0"}
    assert trained.keys() == {"here", "aside", "later"}
    assert {run.info.status for run in made} == {"FINISHED"}
    assert trained["aside"].info.run_name == "toy-0 @aside"
    assert not list((project.folder / ".dvc/tmp/exps").rglob("mlflow.db"))
    shown = json.loads(project.dvc("exp", "show", "--json"))
    values = {
        experiment["name"]: experiment["revs"][0]["data"]["metrics"]["reports/metrics.json"]["data"]["value"]
        for commit in shown
        for experiment in commit.get("experiments") or []
    }
    assert values == {"here": 6.0, "aside": 9.0, "later": 12.0}
    hash_ = items(trained["later"])["output"]["checkpoints/toy-0"]
    (chain,) = project.lineage(hash_, history=True)
    assert [run["id"] for step in chain["made_by"] for run in step["runs"]] == [trained["later"].info.run_id]
    assert all(len(step["commits"]) == 1 for step in chain["made_by"])


def test_what_dvc_restores_leaves_runs_that_point_to_their_makers(project: Project) -> None:
    project.git("checkout", "-q", ".")
    project.dvc("checkout", "-q")
    (maker,) = [run for run in project.runs("train@0") if run.data.tags.get("dvc.exp") == "aside"]
    record_restored(project.folder, project.client, maker.info.experiment_id)  # of the checkout
    before = {run.info.run_id for run in project.runs()}
    (project.folder / "params.yaml").write_text("size: 3\nrate: 3\n")
    assert "'train@0' is cached - skipping run" in project.dvc("repro")  # the report may run: its outputs have no cache
    record_restored(project.folder, project.client, maker.info.experiment_id)
    (restored,) = [run for run in project.runs("train@0") if run.info.run_id not in before]
    assert restored.data.tags[RESTORED] == maker.info.run_id
    assert restored.data.tags["mlflow.parentRunId"] == maker.info.run_id
    assert outputs(restored) == outputs(maker)
    assert restored.info.status == "FINISHED"
    assert record_restored(project.folder, project.client, maker.info.experiment_id) == []  # once
    text = "\n".join(tree(project.lineage("checkpoints/toy-0")[0]))
    assert f"run {maker.info.run_id[:12]}" in text
    assert f"restored from the cache {restored.info.run_id[:12]}" in text
    project.git("checkout", "-q", ".")
    with suppress(AssertionError):
        project.dvc("checkout", "-q")


def test_a_clone_and_the_remote_are_enough(project: Project, tmp_path: Path) -> None:
    """Nothing is run again: the stages' outputs come with their run files, and lineage reads them without the store."""
    project.dvc("remote", "add", "-d", "-f", "storage", str(tmp_path / "remote"))
    project.dvc("push", "-q")
    project.git("commit", "-qam", "remote")
    clone = tmp_path / "clone"
    project.git("clone", "-q", str(project.folder), str(clone))
    there = Project(clone, project.socket, project.env)
    there.dvc("pull", "-q")
    assert "up to date" in there.dvc("repro", "--dry")
    assert (clone / "reports/table.json").read_bytes() == (project.folder / "reports/table.json").read_bytes()
    (chain,) = there.lineage("checkpoints/toy-0", records=False)
    run_id = json.loads((clone / "reports/table.json").read_text())[0]["run_id"]
    assert chain["made_by"][0]["runs"] == [{"id": run_id}]
