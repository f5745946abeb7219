"""MLproject and docker/MLproject: the same entry points, each a verb with options that it has."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from mlflow.projects import _project_spec

from avsa import cli

ROOT = Path(__file__).parents[1]
LOCAL: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRIES = LOCAL["entry_points"]
load_project: Any = _project_spec.load_project  # without types
VERBS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the command line understands of ``avsa VERB ...``."""
    program, verb, *rest = arguments
    assert program == "avsa"
    context = VERBS[verb].make_context(verb, rest)
    return dict(context.params)


def command(entry: str, **parameters: str) -> list[str]:
    """The words of the command that MLflow starts for an entry point."""
    point = load_project(str(ROOT)).get_entry_point(entry)
    return shlex.split(point.compute_command(parameters, None))


def test_the_container_has_the_same_entry_points() -> None:
    """Made of the same text; mlflow reads of it just what it reads of the root's, and the image."""
    own = (ROOT / "docker" / "docker_env.yaml").read_text()
    lines = (ROOT / "MLproject").read_text().splitlines(keepends=True)
    text = own + "".join(line for line in lines if not line.startswith("#"))
    assert (ROOT / "docker" / "MLproject").read_text() == text, "make docker/MLproject"
    container = load_project(str(ROOT / "docker"))
    assert container.docker_env["image"] == "avsa"
    assert "environment" not in container.docker_env  # its values stand in a line that MLflow logs
    assert yaml.safe_load(text)["entry_points"] == ENTRIES


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_point_is_a_verb(entry: str) -> None:
    words = command(entry)
    assert words[1] == ("repro" if entry == "main" else entry)
    given = parsed(words)
    assert not given["set_"]
    assert given["params"] == Path("params.yaml")
    assert {"base", "overrides", "params"} <= ENTRIES[entry]["parameters"].keys()
    assert all(f"{{{name}}}" in ENTRIES[entry]["command"] for name in ENTRIES[entry]["parameters"])


def test_every_verb_that_is_a_run_is_an_entry_point() -> None:
    stages = [*(ROOT / "src/avsa/stages").glob("*.py"), ROOT / "src/avsa/sweep/run.py"]
    calls = [node for file in stages for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    named = [call.args[1] for call in calls if ast.unparse(call.func) == "stage_run"]
    stage_names = {ast.literal_eval(name) for name in named if isinstance(name, ast.Constant)}
    assert len(stage_names) > 8
    assert stage_names & VERBS.keys() <= ENTRIES.keys()


def test_values_arrive_as_they_were_given() -> None:
    overrides = "engine.threads=2 pretrain.runs.avc=[{objective: avc, epochs: 1}]  tracking.uri="
    given = parsed(command("pretrain", base="configs/smoke.yaml", overrides=overrides, run="avsa", seed="3"))
    assert (given["base"], given["run"], given["start"], given["seed"]) == (
        "configs/smoke.yaml",
        "avsa",
        "untrained",
        3,
    )
    assert given["set_"] == [
        "engine.threads=2",
        "pretrain.runs.avc=[{objective: avc, epochs: 1}]",
        "tracking.uri=",
    ]
