"""docker/kubernetes: what schemas of Kubernetes say, and what `mlflow run --backend kubernetes` sends to a cluster."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes.config.kube_config
import mlflow.projects
import mlflow.projects.docker
import mlflow.projects.kubernetes
import pytest
import yaml
from click.testing import CliRunner
from kubernetes_validate.utils import ValidationError, validate
from mlflow import MlflowClient
from mlflow.cli import cli
from mlflow.exceptions import ExecutionException
from mlflow.projects._project_spec import load_project

from avsa.cli import _unquoted

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker" / "kubernetes"
VERSIONS = ("1.30", "1.37")
OVERRIDES = "engine.threads=2 views.size=64"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def job(name: str) -> dict[str, Any]:
    (found,) = (document for document in documents(name) if document["kind"] == "Job")
    return found


def project() -> Any:
    return load_project(str(ROOT / "docker"))


@pytest.mark.parametrize("name", ["job.yaml", "storage.yaml", "multi-node.yaml"])
def test_files_follow_the_schemas(name: str) -> None:
    for document in documents(name):
        for version in VERSIONS:
            validate(document, version, strict=True)
        with pytest.raises(ValidationError, match="speck"):
            validate({**document, "speck": {}}, version, strict=True)


@pytest.mark.parametrize("name", ["job.yaml", "multi-node.yaml"])
def test_names_in_a_job_name_something_and_nobody_is_root(name: str) -> None:
    spec = job(name)["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        assert rule.get("onExitCodes", {}).get("containerName", container["name"]) == container["name"]
    (claim,) = (document for document in documents("storage.yaml") if document["kind"] == "PersistentVolumeClaim")
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "emptyDir" not in volume]
    assert claims == [claim["metadata"]["name"]]
    assert job(name)["metadata"]["namespace"] == claim["metadata"]["namespace"]

    # the standard "restricted", which the namespace demands
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == secure
    user, folder = pod["securityContext"]["runAsUser"], container["workingDir"]
    image = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    assert {f"USER {user}:{user}", f"WORKDIR {folder}"} <= set(image)
    for variable in container["env"]:
        assert ("valueFrom" in variable) == any(word in variable["name"] for word in ("PASSWORD", "USERNAME", "KEY"))


def test_pods_of_a_training_find_each_other() -> None:
    (service,) = (document for document in documents("multi-node.yaml") if document["kind"] == "Service")
    training = job("multi-node.yaml")
    spec, pod = training["spec"], training["spec"]["template"]["spec"]
    options = dict(item.partition("=")[::2] for item in pod["containers"][0]["args"] if item.startswith("--"))
    assert service["spec"]["selector"] == {"job-name": training["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    assert options["--rdzv-endpoint"] == f"{training['metadata']['name']}-0.{pod['subdomain']}:{port}"
    assert spec["completions"] == spec["parallelism"] == int(options["--nnodes"])
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == options["--nproc-per-node"]


class Cluster(ThreadingHTTPServer):
    """Answers as much of Kubernetes' API as MLflow asks for; every Job ends as ``outcome`` says."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.outcome = "Complete"
        self.asked = 0
        super().__init__(("127.0.0.1", 0), Requests)


class Requests(BaseHTTPRequestHandler):
    server: Cluster

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path.startswith(f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs?")
        self.server.jobs.append(job)
        self.answer(job)

    def do_GET(self) -> None:
        self.server.asked += 1
        status: dict[str, Any] = {}
        if self.server.asked > 1:
            status["startTime"] = "2026-01-01T00:00:00Z"
        if self.server.asked > 2:
            status["conditions"] = [{"type": self.server.outcome, "status": "True", "message": "so it ended"}]
        self.answer({"status": status})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self.answer({})

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that kubectl's configuration leads to, and MLflow without a Docker daemon and a registry."""
    server = Cluster()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = {"cluster": "c", "user": "u"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    monkeypatch.setattr(mlflow.projects.docker, "validate_docker_installation", lambda: None)

    def build(repository_uri: str, base_image: str, build_image: bool, **others: Any) -> SimpleNamespace:
        assert build_image, "without --build-image MLflow would push the image under its local name"
        assert base_image == project().docker_env["image"]
        return SimpleNamespace(tags=[f"{repository_uri}:abc1234"])

    monkeypatch.setattr(mlflow.projects.docker, "build_docker_image", build)
    monkeypatch.setattr(mlflow.projects.kubernetes, "push_image_to_registry", lambda image: "sha256:0123")
    monkeypatch.setattr(mlflow.projects.kubernetes.KubernetesSubmittedRun, "POLL_STATUS_INTERVAL", 0.01)
    monkeypatch.setenv("KUBE_MLFLOW_TRACKING_URI", "http://mlflow.avsa:5000")
    monkeypatch.chdir(ROOT)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield server
    mlflow.set_tracking_uri("")
    server.shutdown()
    server.server_close()


def launch(**parameters: str) -> Any:
    return mlflow.projects.run(
        "docker",
        "pretrain",
        parameters=parameters,
        backend="kubernetes",
        backend_config="docker/kubernetes/backend.json",
        build_image=True,
    )


def test_mlflow_sends_the_job(cluster: Cluster) -> None:
    submitted = launch(base="configs/smoke.yaml", overrides=OVERRIDES)
    (sent,) = cluster.jobs
    for version in VERSIONS:
        validate(sent, version, strict=True)
    (container,) = sent["spec"]["template"]["spec"]["containers"]
    (before,) = job("job.yaml")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/avsa:abc1234@sha256:0123"
    assert container["env"][: len(before["env"])] == before["env"]
    added = {variable["name"]: variable["value"] for variable in container["env"][len(before["env"]) :]}
    assert added["MLFLOW_RUN_ID"] == submitted.run_id
    assert added["MLFLOW_TRACKING_URI"] == "http://mlflow.avsa:5000"
    assert container["name"] == before["name"], "podFailurePolicy names the container"
    kept = set(before) - {"env", "image", "command"}
    assert {key: container[key] for key in kept} == {key: before[key] for key in kept}

    point = project().get_entry_point("pretrain")
    meant = shlex.split(point.compute_command({"base": "configs/smoke.yaml", "overrides": OVERRIDES}, None))
    assert OVERRIDES in meant
    assert f"'{OVERRIDES}'" in container["command"], "MLflow quotes for a shell, and there is none"
    assert [_unquoted(word) for word in container["command"]] == meant

    client = MlflowClient()
    assert client.get_run(submitted.run_id).info.status == "FINISHED"

    cluster.outcome = "Failed"
    with pytest.raises(ExecutionException, match="failed"):
        launch()
    assert "''" in cluster.jobs[1]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert _unquoted("''") == ""
    statuses = {run.info.run_id: run.info.status for run in client.search_runs(["0"])}
    assert sorted(statuses.values()) == ["FAILED", "FINISHED"]

    submitted.cancel()  # it is over: nothing to delete
    assert not cluster.deleted


def test_the_command_of_the_page(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cluster.md, as mlflow's own command line takes it."""
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (block,) = (block for block in page.split("```sh\n")[1:] if "--backend kubernetes" in block.partition("```")[0])
    lines = [shlex.split(line, comments=True) for line in block.partition("```")[0].replace("\\\n", " ").splitlines()]
    exported = dict(words[1].split("=", 1) for words in lines if words[0] == "export")
    assert exported.keys() == {"MLFLOW_TRACKING_URI", "KUBE_MLFLOW_TRACKING_URI"}
    inside = exported["KUBE_MLFLOW_TRACKING_URI"]  # the other one is a store of this test's
    monkeypatch.setenv("KUBE_MLFLOW_TRACKING_URI", inside)
    (words,) = (words for words in lines if words[0] == "mlflow")
    result = CliRunner().invoke(cli, words[1:])
    assert result.exit_code == 0, result.output
    (sent,) = cluster.jobs
    (container,) = sent["spec"]["template"]["spec"]["containers"]
    assert {"name": "MLFLOW_TRACKING_URI", "value": inside} in container["env"]
    point = project().get_entry_point("pretrain")
    meant = point.compute_command({"base": "configs/paper.yaml", "run": "avc"}, None)
    assert [_unquoted(word) for word in container["command"]] == shlex.split(meant)


@pytest.mark.parametrize("argument", ["a.b=[1, 'x']", "it's", "'", "'a' 'b'", "'a", "", "x", "'unquoted"])
def test_arguments_come_through_with_and_without_quotes(argument: str) -> None:
    quoted = shlex.quote(argument)
    assert _unquoted(quoted) == argument
    assert _unquoted(argument) == argument
