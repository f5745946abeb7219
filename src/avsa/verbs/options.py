"""The command line's application and the options that verbs share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from avsa.resolve import Resolved, resolve

app = typer.Typer(
    help="Audio-visual spatial alignment: self-supervised learning from 360° video with first-order ambisonics. "
    "Values come from params.yaml; `avsa config` shows them all. The pipeline of these verbs is run by `dvc repro`. "
    "With --debug, an error shows its traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Params = Annotated[Path | None, typer.Option("--params", help="The file that chooses; params.yaml by default.")]
Base = Annotated[str | None, typer.Option("--base", help="An overlay in place of the one params.yaml names.")]


def _one_by_one(items: list[str] | None) -> list[str]:
    """``"a.b=1 c.d=[2, 3]"`` holds two: launchers such as MLflow's projects pass one argument."""
    return [one for item in items or () for one in re.split(r"\s+(?=[\w.-]+=)", item.strip()) if one]


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=VALUE", callback=_one_by_one, help="Change a value; may be repeated, or hold several."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of weights, sampling and heads.")]


def _processes(jobs: int) -> int:
    if jobs < 1 and jobs != -1:
        raise typer.BadParameter("give a number of processes, or -1 for one per core")
    return jobs


Jobs = Annotated[int, typer.Option("--jobs", callback=_processes, help="Processes; -1 is one per core.")]


def resolved(params: Path | None, base: str | None, overrides: list[str] | None) -> Resolved:
    """The configuration that the shared options ask for."""
    return resolve(params, overrides or (), base)
