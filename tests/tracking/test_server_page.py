"""The commands of docs/servers.md, against the server that its own command started."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import object_store
import pytest
from click.testing import CliRunner
from command_line import avsa
from mlflow import MlflowClient
from mlflow.cli import cli
from tracking_server import Served, documented

pytest_plugins = ["postgresql_server", "tracking_server"]
PAGE = Path(__file__).parents[2] / "docs/servers.md"


def commands(text: str) -> Iterator[list[str]]:
    for block in text.split("```sh\n")[1:]:
        lines = block.partition("```")[0].replace("\\\n", " ").splitlines()
        if not any(line.startswith("mlflow server") for line in lines):  # what `served` ran
            yield from (words for line in lines if (words := shlex.split(line, comments=True)))


@pytest.mark.timeout(1200)  # a server starts, on however busy a machine
def test_each_command_works(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert documented()["--artifacts-destination"] == "s3://mlflow/artifacts"
    object_store.use(monkeypatch, served.objects.url)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    (tmp_path / "ca.pem").touch()
    (tmp_path / "params.yaml").write_text("engine: {workers: 0, device: cpu}\n")
    here = {
        "http://tracking.example:5000": served.uri,
        "https://s3.example": served.objects.url,
        "/etc/ssl/certs/ca-certificates.crt": str(tmp_path / "ca.pem"),
    }
    text = PAGE.read_text(encoding="utf-8")
    for written, meant in here.items():
        assert written in text
        text = text.replace(written, meant)
    ran = []
    for program, *words in commands(text):
        ran.append(" ".join([program, *words]))
        if program == "export":
            for name, value in (word.split("=", 1) for word in words):
                monkeypatch.setenv(name, value)
        elif program == "avsa":
            uri = os.environ["MLFLOW_TRACKING_URI"]
            assert avsa(tmp_path, *words, "--set", f"tracking.uri={uri}") == 0, capfd.readouterr().out
        else:
            assert program == "mlflow"
            monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
            result = CliRunner().invoke(cli, words)
            assert result.exit_code == 0, result.output
    assert len([line for line in ran if not line.startswith("export")]) == 4
    said = capfd.readouterr().out
    assert f"{served.uri} answers, MLflow 3." in said
    assert "s3://mlflow/direct can be written" in said
    direct = MlflowClient(served.uri).get_experiment_by_name("direct")
    assert direct is not None
    assert direct.artifact_location == "s3://mlflow/direct"
