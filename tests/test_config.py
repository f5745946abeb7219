"""The files that choose values, and the pipeline that reads them, against the typed tree."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import avsa.cli  # noqa: F401, registers the verbs
from avsa.config import Config
from avsa.resolve import resolve
from avsa.verbs.options import app

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "sweep"
)
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_named_experiment_resolves(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    resolved = resolve(base=overlay)
    chosen = {path for path in resolved.flat() if resolved.origin(path) == overlay}
    assert chosen, f"{overlay} chooses nothing"
    assert len((ROOT / overlay).read_text().splitlines()) <= 24, "an overlay says what differs, no more"


def test_the_tree_is_frozen_and_fits_together() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.synth.train = 3
    with pytest.raises(ValidationError, match=r"views need 1 s but clips.clip_s is 0.9"):
        Config.model_validate({"clips": {"clip_s": 0.9}})
    with pytest.raises(ValidationError, match=r"views need 2 s but clips.clip_s is 1.5"):
        Config.model_validate({"clips": {"clip_s": 1.5, "fps": 4}, "views": {"audio_s": 1.0}})
    with pytest.raises(ValidationError, match=r"translator.heads 3 do not divide 512 features"):
        Config.model_validate({"model": {"translator": {"heads": 3}}})
    with pytest.raises(ValidationError, match=r"model.width 0.01 leaves no channel: the smallest is 0.015625"):
        Config.model_validate({"model": {"width": 0.01}})
    with pytest.raises(ValidationError, match=r"pretrain.runs.hard: hard-only contrasts a clip's viewpoints"):
        Config.model_validate({"pretrain": {"runs": {"hard": [{"objective": "hard-only", "epochs": 1, "crops": 1}]}}})


def test_the_command_prints_every_value_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    resolved = resolve(overrides=["engine.workers=3"])
    result = CliRunner().invoke(app, ["config", "--set", "engine.workers=3"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == len(resolved.flat())
    for line, (path, value) in zip(lines, resolved.flat().items(), strict=True):
        assert line.split()[0] == path
        assert line.endswith(resolved.origin(path))
        assert str(value) in line
    assert any(re.fullmatch(r"engine\.workers +3 +--set", line) for line in lines)


def test_the_written_tree_resolves_to_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["config", "--output", str(tmp_path / "resolved.yaml")])
    assert result.exit_code == 0
    assert resolve(tmp_path / "resolved.yaml").config == resolve().config


def rows(stage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stage for every cell of its matrix, its templates filled in from params.yaml."""
    matrix = {axis: fill(values, {}) for axis, values in stage.get("matrix", {}).items()}
    for values in itertools.product(*matrix.values()):
        filled = fill(stage, dict(zip(matrix, values, strict=True)))
        assert isinstance(filled, dict)
        yield filled


def fill(node: Any, item: dict[str, Any]) -> Any:
    """``${a.b}`` replaced by its value; ``${item.x}`` by the matrix cell's."""

    def value(match: re.Match[str]) -> Any:
        place: Any = {**PARAMS, "item": item}
        for part in match.group(1).split("."):
            place = place[part]
        return place

    if isinstance(node, dict):
        return {key: fill(child, item) for key, child in node.items() if key != "matrix"}
    if isinstance(node, list):
        return [fill(child, item) for child in node]
    if isinstance(node, str):
        whole = re.fullmatch(r"\$\{([\w.]+)\}", node)
        return value(whole) if whole else re.sub(r"\$\{([\w.]+)\}", lambda match: str(value(match)), node)
    return node


@pytest.mark.parametrize("name", STAGES)
def test_stages_depend_on_values_and_code_that_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    tree = resolve().config.model_dump(mode="json")
    made = {"resolved.yaml", "data", "checkpoints", "evaluations"}  # by stages
    for stage in rows(STAGES[name]):
        for entry in stage.get("params", []):
            for key in entry["resolved.yaml"]:
                place = tree
                for part in key.split("."):
                    assert part in place, f"stage {name} depends on {key}, which the configuration does not have"
                    place = place[part]
        for path in stage.get("deps", []):
            assert Path(path).parts[0] in made or (ROOT / path).exists(), f"stage {name} depends on {path}"


def test_stages_call_verbs_with_options_that_exist() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for stage in STAGES.values():
        for row in rows(stage):
            program, verb, *arguments = row["cmd"].split()
            assert program == "avsa"
            group.commands[verb].make_context(verb, arguments)  # raises where the verb does not take them


def test_the_pipeline_names_runs_that_are_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = resolve().config
    chosen = config.pipeline
    assert {*chosen.from_scratch, *chosen.after_avc} <= set(config.pretrain.runs)
    assert set(chosen.checkpoints) <= {"untrained", *chosen.from_scratch, *chosen.after_avc}
    assert "avc" in chosen.from_scratch or not chosen.after_avc
