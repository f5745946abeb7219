"""Runs in the image, recorded by a server on PostgreSQL and an object store. tests/container/run starts these tests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from object_store import ObjectStore, _free_port, object_store
from postgresql_server import postgresql  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
MB = 10**6
ABOVE_LOCK_MB, BUILD_S = 500, 600
SMOKE = "-P base=configs/smoke.yaml"
OURS = "-A net=host -A user=$(stat -c %u:%g .)"  # the container's user is whose the folder is
STUDY = "-P file=configs/sweep/smoke.yaml"


@dataclass
class Project:
    """A clone of this repository, in which commands are run, and the servers that they see."""

    folder: Path
    uri: str
    objects: ObjectStore
    hidden: list[str]  # what must be read nowhere
    said: list[str] = field(default_factory=list)  # all that commands printed
    ran: list[str] = field(default_factory=list)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def start(self, command: str) -> subprocess.Popen[str]:
        """A command of the page, in bash."""
        print(f"\n$ {command}", flush=True)
        self.ran.append(command)
        other = ("MLFLOW_", "AWS_", "DVC_", "GIT_")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(other)}
        environment |= {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_EXPERIMENT_NAME": "avsa"}
        environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        """Wait for it. Returns its exit code."""
        said, _ = process.communicate(timeout=1800)
        self.said.append(said)
        self.give()
        if process.returncode:
            print(said[-3000:], flush=True)
        return process.returncode

    def run(self, command: str) -> Run:
        """A command that ends well. Returns its MLflow run."""
        began = time.monotonic()
        assert self.end(self.start(command)) == 0
        run = self.last()
        print(f"{run.info.run_name}: {run.info.status} after {time.monotonic() - began:.0f} s", flush=True)
        return run

    def give(self) -> None:
        """The folder and what root wrote there is somebody's who is not root, as that of a user of containers."""
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "1000:1000", str(self.folder)], check=True)

    def last(self) -> Run:
        """The run that `mlflow run` made last."""
        experiment = self.client.get_experiment_by_name("avsa")
        assert experiment is not None
        launched = "tags.mlflow.source.type = 'PROJECT'"
        return self.client.search_runs([experiment.experiment_id], launched, max_results=1)[0]


def docker(*arguments: str) -> str:
    """What a command of the engine prints."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def image() -> dict[str, Any]:
    """What the engine knows of the image that this checkout makes."""
    began = time.monotonic()
    subprocess.run(["make", "image", f"BUILD={os.environ.get('BUILD', '')}"], cwd=ROOT, check=True)
    seconds = time.monotonic() - began
    clean = "--no-cache" in os.environ.get("BUILD", "")
    print(f"\nimage built in {seconds:.0f} s, {'from nothing' if clean else 'layers that were there used again'}")
    if clean:
        assert seconds < BUILD_S
    return dict(json.loads(docker("image", "inspect", "avsa"))[0])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, postgresql: str) -> Iterator[Project]:  # noqa: F811
    folder = tmp_path_factory.mktemp("container")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder / "avsa")], check=True)
    (folder / "avsa" / "data").mkdir(exist_ok=True)
    hidden = [secrets.token_hex(16) for _ in range(2)]
    with object_store() as objects:
        keys = {"AWS_ACCESS_KEY_ID": "trainer", "AWS_SECRET_ACCESS_KEY": hidden[0], "AWS_ENDPOINT_URL": objects.url}
        lines = [*(f"{name}={value}" for name, value in keys.items()), f"MLFLOW_TRACKING_PASSWORD={hidden[1]}"]
        (folder / "avsa" / "secrets.env").write_text("\n".join([*lines, "MLFLOW_TRACKING_USERNAME=trainer", ""]))
        objects.client().create_bucket(Bucket="mlflow")
        database = postgresql.replace("://", "+psycopg2://", 1)  # the driver that the lock has
        port = _free_port()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--workers", "1", "--backend-store-uri", database, "--artifacts-destination", "s3://mlflow/runs"),
            ],
            cwd=folder,
            env={**os.environ, **keys, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"},
            stdout=(folder / "server.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(300):
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(1)
            project = Project(folder / "avsa", f"http://127.0.0.1:{port}", objects, hidden)
            project.give()
            yield project
        finally:
            server.terminate()
            server.wait(60)


def test_what_the_image_is(image: dict[str, Any]) -> None:
    within = "command -v gcc cc g++ make ld; id -u; du -s --block-size=1 --apparent-size /opt/avsa; avsa config"
    *tools, who, measured, first = docker("run", "--rm", "avsa", "sh", "-c", f"{within} | head -n 1").splitlines()
    assert tools == []
    assert who == "1000"
    assert "base" in first
    lock_mb, image_mb = int(measured.split()[0]) / MB, image["Size"] / MB
    print(f"\nimage {image_mb:.0f} MB, of which the lock {lock_mb:.0f} MB, beside it {image_mb - lock_mb:.0f} MB")
    assert image_mb <= lock_mb + ABOVE_LOCK_MB
    labels = image["Config"]["Labels"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit.strip()
    assert labels["avsa.lock.md5"] == hashlib.md5((ROOT / "requirements.lock").read_bytes()).hexdigest()
    assert "avsa.tracking.health" in json.dumps(image["Config"].get("Healthcheck") or image.get("Healthcheck"))


def test_a_training_in_a_container(project: Project) -> None:
    for stage in ("synth", "ingest", "stats", "init"):
        run = project.run(f"mlflow run docker {OURS} -e {stage} {SMOKE}")
        assert run.info.status == "FINISHED"
        assert run.data.tags["avsa.stage"] == stage
    before = len(project.objects.client().list_objects_v2(Bucket="mlflow")["Contents"])
    run = project.run(f"mlflow run docker {OURS} -A shm-size=2g -e pretrain {SMOKE}")
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {"train/loss", "final/train/loss"} <= run.data.metrics.keys()
    assert run.data.params["arg.run"] == "avc"
    assert run.data.tags["mlflow.project.env"] == "docker"
    assert run.data.tags["mlflow.docker.image.uri"] == "avsa"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert run.data.tags["git.commit"] == commit.strip()
    names = {item.path for item in project.client.list_artifacts(run.info.run_id)}
    assert "config.yaml" in names
    file = download_artifacts(run_id=run.info.run_id, artifact_path="config.yaml", tracking_uri=project.uri)
    assert "configs/smoke.yaml" in Path(file).read_text()
    assert len(project.objects.client().list_objects_v2(Bucket="mlflow")["Contents"]) > before
    network = project.folder / "checkpoints" / "avc-0" / "network.pt"
    assert network.stat().st_uid == project.folder.stat().st_uid
    told = json.loads((network.parent / "run.json").read_text())
    assert told == {"run_id": run.info.run_id, "tracking_uri": project.uri}


def test_a_training_that_fails(project: Project) -> None:
    wild = "pretrain.runs.wild=[{objective: avc, epochs: 9, batch: 28, crops: 1, lr: 1.0e+30}]"
    process = project.start(f"mlflow run docker {OURS} -e pretrain {SMOKE} -P run=wild -P overrides='{wild}'")
    assert project.end(process) != 0
    run = project.last()
    assert run.info.status == "FAILED"
    assert "traceback.txt" in {item.path for item in project.client.list_artifacts(run.info.run_id)}


def test_a_container_that_is_stopped(project: Project) -> None:
    name = f"avsa-{secrets.token_hex(4)}"
    long = "engine.log_every=1 pretrain.runs.long=[{objective: avc, epochs: 9999, batch: 28, crops: 1, lr: 1.0e-3}]"
    container = f"--backend avsa {OURS} -A name={name} -A env-file=$PWD/secrets.env"
    process = project.start(f"mlflow run docker {container} -e pretrain {SMOKE} -P run=long -P overrides='{long}'")
    until = time.monotonic() + 300
    while "train/loss" not in (run := project.last()).data.metrics or run.data.params["run"] != "long":
        assert process.poll() is None, project.end(process)
        assert time.monotonic() < until
        time.sleep(2)
    assert run.info.status == "RUNNING"
    assert docker("exec", name, "id", "-u") == str(project.folder.stat().st_uid)
    docker("exec", name, "python", "-m", "avsa.tracking.health")  # exit code 0
    docker("stop", "-t", "600", name)  # after the step, however busy the machine is
    assert project.end(process) != 0
    assert project.client.get_run(run.info.run_id).info.status == "KILLED"
    assert list((project.folder / "runs").glob("*/*.pt")), "nothing to go on from"


def test_clips_in_a_bucket_with_keys_from_a_file(project: Project) -> None:
    project.objects.put_folder(project.folder / "data/clips/synth360", "clips", "synth360")
    keys = "-A env-file=$PWD/secrets.env"
    address = '-P overrides="store.address=s3://clips/synth360"'
    run = project.run(f"mlflow run docker {OURS} {keys} -e stats {SMOKE} {address}")
    assert run.info.status == "FINISHED"
    assert run.data.params["cfg.store.address"] == "s3://clips/synth360"


def test_the_same_entry_points_without_a_container(project: Project) -> None:
    run = project.run(f"mlflow run . --env-manager=local -e pretrain {SMOKE} -P run=avsa -P from=avc")
    assert (run.info.status, run.data.params["arg.from"]) == ("FINISHED", "avc")
    assert "mlflow.docker.image.uri" not in run.data.tags
    assert_searched(project, project.run(f"mlflow run . --env-manager=local -e sweep {SMOKE} {STUDY}"))


def test_a_search_in_a_container(project: Project) -> None:
    study = project.run(f"mlflow run docker {OURS} -e sweep {SMOKE} {STUDY} -P study=contained")
    assert_searched(project, study)
    assert (project.folder / "runs/sweep/contained/report/report.html").exists()


def assert_searched(project: Project, study: Run) -> None:
    """The study's run ended well, and those of its trials below it."""
    assert study.info.status == "FINISHED"
    trials = project.client.search_runs(
        [study.info.experiment_id], f"tags.mlflow.parentRunId = '{study.info.run_id}' AND status = 'FINISHED'"
    )
    assert len(trials) >= 2


def test_nothing_hidden_is_said(project: Project) -> None:
    experiments = [experiment.experiment_id for experiment in project.client.search_experiments()]
    runs = project.client.search_runs(experiments)
    assert len(runs) > 8
    texts = [*project.said, *(json.dumps(run.to_dictionary()) for run in runs)]
    for run in runs:
        for item in project.client.list_artifacts(run.info.run_id):
            if not item.is_dir and item.path.endswith((".yaml", ".txt", ".json")):
                place = download_artifacts(run_id=run.info.run_id, artifact_path=item.path, tracking_uri=project.uri)
                texts.append(Path(place).read_text())
    spool = project.folder / "runs"
    texts += [path.read_text(errors="replace") for path in spool.rglob("*") if path.suffix in (".json", ".jsonl")]
    assert not [word for word in project.hidden if any(word in text for text in texts)]


def test_the_pipeline_in_a_container(project: Project) -> None:
    few = "pipeline.after_avc=[avsa] pipeline.checkpoints=[untrained] pipeline.tasks=[avc-bin]"
    above = project.run(f'mlflow run docker {OURS} -e repro {SMOKE} -P overrides="{few}"')
    below = project.client.search_runs(
        [above.info.experiment_id], f"tags.mlflow.parentRunId = '{above.info.run_id}' AND status = 'FINISHED'"
    )
    assert {"synth", "ingest", "stats", "init", "pretrain", "evaluate", "report"} <= {
        run.data.tags["avsa.stage"] for run in below
    }
    assert (project.folder / "reports" / "index.html").exists()


def test_the_page_has_no_other_commands(project: Project) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line]
    written = {" ".join(line.split("  #")[0].split()) for line in commands if "gpus=all" not in line}
    ran = {" ".join(command.split()) for command in project.ran} | {"make image", "tests/container/run"}
    assert len(written) > 5
    assert written <= ran
