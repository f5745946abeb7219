"""The pipeline's stages depend on all the code and values behind their numbers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PASSED_BY = (
    *("config", "errors.py", "resolve.py", "tracking", "tasks/__init__.py", "stages/__init__.py"),
    *("stages/paths.py", "stages/inputs.py", "stages/data.py"),
)
"""Configuration comes in through the stage `resolve`; the rest joins and records, and decides no number."""


def imported(tree: ast.AST) -> Iterator[Path]:
    """Files of the package that the code under ``tree`` imports, those for type checkers alone left out."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.ImportFrom) and tree.module and tree.module.split(".")[0] == "avsa":
        for name in (tree.module, *(f"{tree.module}.{alias.name}" for alias in tree.names)):
            path = ROOT / "src" / Path(*name.split("."))
            yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists())
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)


def closure(start: Path, function: str | None) -> set[Path]:
    """The file and everything that it, or one function of it, imports directly or through others."""
    tree = ast.parse(start.read_text())
    if function:
        tree = ast.Module([node for node in tree.body if getattr(node, "name", "") == function], [])
    found, waiting = {start}, list(imported(tree))
    while waiting:
        if (file := waiting.pop()) not in found:
            found.add(file)
            if file != ROOT / "src" / "avsa" / "__init__.py":  # imports for its users, in a function no stage calls
                waiting += imported(ast.parse(file.read_text()))
    return found


@pytest.mark.parametrize(
    ("stage", "start", "function", "without"),
    [
        ("synth", "stages/data.py", "run_synth", ()),
        ("motion", "stages/data.py", "run_motion", ("ambisonics",)),  # of synth, the pictures alone
        ("ingest", "stages/data.py", "run_ingest", ("geometry",)),  # clips turn nothing: energy only
        ("stats", "stages/data.py", "run_stats", ("clips",)),  # the store's content is a dependency itself
        ("init", "stages/init.py", None, ("clips",)),
        ("scratch", "stages/pretrain.py", None, ("clips",)),
        ("pretrain", "stages/pretrain.py", None, ("clips",)),
        (
            "evaluate",
            "stages/evaluate.py",
            None,
            ("clips", "report"),
        ),  # names of objectives, the device
        ("report", "stages/report.py", None, ("clips",)),
    ],
)
def test_a_stage_depends_on_the_code_it_runs(
    stage: str, start: str, function: str | None, without: tuple[str, ...]
) -> None:
    package = ROOT / "src" / "avsa"
    dependencies = [ROOT / path for path in STAGES[stage]["deps"] if path.startswith("src")]
    excused = [package / path for path in (*PASSED_BY, *without)]
    missing = {
        str(file.relative_to(package))
        for file in closure(package / start, function)
        if file != package / "__init__.py" and not any(file.is_relative_to(path) for path in dependencies + excused)
    }
    assert not missing, f"stage {stage} runs code that dvc.yaml does not list"


def test_a_seed_names_the_stages_that_depend_on_it() -> None:
    """What has a row per seed runs for a new one; the data, its clips and its statistics have no seed of a network."""
    with_seed = {name for name, stage in STAGES.items() if "seed" in stage.get("matrix", {})}
    assert with_seed == {"init", "scratch", "pretrain", "evaluate"}
    for name in with_seed:
        outputs = [out if isinstance(out, str) else next(iter(out)) for out in STAGES[name]["outs"]]
        assert all("${item.seed}" in out for out in outputs)
        assert "--seed ${item.seed}" in STAGES[name]["cmd"]
    for name in ("synth", "ingest", "stats"):
        listed = STAGES[name]["params"][0]["resolved.yaml"]
        assert not {"pipeline", "pretrain", "model", "evaluate"} & set(listed)
