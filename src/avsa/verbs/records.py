"""Verbs about what was recorded: lineage, doctor, register."""

from __future__ import annotations

from typing import Annotated

import typer

from avsa.errors import UserError
from avsa.verbs.options import Base, Params, Seed, Set, resolved


def lineage(
    target: Annotated[
        str, typer.Argument(help="A file, a hash of DVC's, a run's id, or a registered model (avsa@best).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The whole as JSON.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Look at all commits and experiments.")] = False,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """From which data, code and configuration something was made, by which run, and what was made of it."""
    from avsa.stages.lineage import run_lineage

    for line in run_lineage(resolved(params, base, set_), target, as_json, history):
        typer.echo(line)


def doctor(
    runs: Annotated[bool, typer.Option("--runs", help="End runs that nobody ended, send what waits.")] = False,
    silent: Annotated[float, typer.Option(metavar="MINUTES", help="Elsewhere, a run so long silent is dead.")] = 15.0,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Look for what is wrong with the records of this project, and mend it."""
    from avsa.stages.lineage import run_doctor_runs

    if not runs:
        raise UserError("say what to look at: avsa doctor --runs")
    for line in run_doctor_runs(resolved(params, base, set_), silent * 60):
        typer.echo(line)


def register(
    run: Annotated[str | None, typer.Argument(help="The run to register; by default the best one.")] = None,
    seed: Seed = 0,
    task: Annotated[str, typer.Option(help="The task whose mean accuracy says which is the best.")] = "avsa-bin",
    name: Annotated[str, typer.Option(help="The registered model.")] = "avsa",
    alias: Annotated[str, typer.Option(help="What to call this version.")] = "best",
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Make a checkpoint a version of a registered model, by reference: `mlflow models serve -m models:/avsa@best`."""
    from avsa.stages.register import run_register

    typer.echo(run_register(resolved(params, base, set_), run, seed, task, name, alias))


VERBS = (lineage, doctor, register)
