"""Which room may know which: imports go one way, and heavy tools are imported where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "avsa"
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {"config", "errors"}
ALLOWED = {
    "errors": set(),
    "config": set(),
    "named": {"errors"},
    "resolve": BASE,
    "geometry": BASE,
    "ambisonics": BASE | {"geometry"},
    "features": BASE | {"geometry", "ambisonics"},
    "acquire": BASE | {"named", "geometry", "ambisonics", "clips"},
    "clips": BASE | {"geometry", "ambisonics"},
    "data": BASE | {"geometry", "ambisonics", "features", "clips"},
    "models": BASE | {"named"},
    "losses": BASE | {"models"},
    "engine": BASE,
    "tasks": BASE | {"geometry", "ambisonics", "features", "data", "models", "losses"},
    "tracking": BASE | {"resolve"},
    "doctor": BASE | {"tracking"},
    "sweep": BASE | {"resolve", "tracking", "stages"},
    "report": BASE | {"geometry", "ambisonics", "features", "clips", "data"},
    "verbs": BASE | {"resolve", "stages", "sweep"},
    "cli": BASE | {"resolve", "stages", "sweep", "verbs"},
    "__main__": {"cli"},
}
"""Stages may import every room but the command line."""

TOOLS = {
    "av": {"acquire", "clips", "data", "report", "doctor"},
    "mlflow": {"tracking", "sweep", "doctor"},
    "optuna": {"sweep"},
    "dvc": {"tracking", "stages", "doctor"},
}
LAZY = {"mlflow", "optuna", "dvc"}  # inside functions only


@dataclass(frozen=True)
class Import:
    file: str
    room: str
    module: str
    runs_on_import: bool


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file; those for type checkers alone, and in functions, do not run on import."""
    name = file.relative_to(PACKAGE)
    package = ("avsa", *name.with_suffix("").parts)[: None if file.name == "__init__.py" else -1]

    def visit(node: ast.AST, runs: bool) -> Iterator[Import]:
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, [parent, node.module]))
            modules = [f"{base}.{alias.name}" for alias in node.names]
        for module in modules:
            yield Import(str(name), name.parts[0].removesuffix(".py"), module, runs)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, runs and not lazy and not typing)

    yield from visit(ast.parse(file.read_text()), True)


ALL = [found for file in FILES for found in imports(file)]


def test_rooms_know_only_what_lies_before_them() -> None:
    own = [item for item in ALL if item.module.startswith("avsa.") and item.room not in ("stages", "__init__")]
    assert {item.room for item in ALL} - {"stages", "__init__"} <= ALLOWED.keys(), "a new room: say what it may know"
    wrong = [
        f"{item.file} imports {item.module}"
        for item in own
        if (target := item.module.split(".")[1]) != item.room and target not in ALLOWED[item.room]
    ]
    assert not wrong


def test_stages_do_not_know_the_command_line() -> None:
    assert not [item.file for item in ALL if item.room == "stages" and item.module.startswith("avsa.cli.")]


def test_tasks_name_decoded_data_only_as_types() -> None:
    data = [item for item in ALL if item.room == "tasks" and item.module.startswith("avsa.data")]
    assert data
    assert not [item.file for item in data if item.runs_on_import]


@pytest.mark.parametrize("tool", TOOLS)
def test_heavy_tools_stay_in_their_rooms(tool: str) -> None:
    found = [item for item in ALL if item.module.split(".")[0] == tool]
    assert {item.room for item in found} <= TOOLS[tool]
    if tool in LAZY:
        assert not [item.file for item in found if item.runs_on_import]


def test_a_machine_with_pytorch_alone_can_train() -> None:
    script = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(["mlflow", "dvc", "optuna", "av"]))  # importing these fails from here on
for room in ["geometry", "ambisonics", "features", "models", "losses", "engine", "tasks"]:
    module = importlib.import_module(f"avsa.{room}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"avsa.{room}."):
        importlib.import_module(found.name)
        print(found.name)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {"avsa.engine.loop", "avsa.tasks.binary", "avsa.losses.contrastive"} <= set(result.stdout.split())


def test_files_stay_short() -> None:
    lengths = {file.relative_to(PACKAGE).as_posix(): len(file.read_text().splitlines()) for file in FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > 350}
