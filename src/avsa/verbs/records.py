"""Verbs about what was recorded: lineage, doctor, register."""

from __future__ import annotations

from typing import Annotated

import typer

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
    container: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="Look at containers, too: an image, or docker/ for its MLproject's."),
    ] = None,
    docker_args: Annotated[
        list[str] | None, typer.Option("-A", "--docker-args", metavar="NAME=VALUE", help="As of mlflow run: gpus=all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Look for what could stop a run before there is one, and say how to mend it; exit code 1 where there is a problem.

    With --runs: look at the runs that there are."""
    config = resolved(params, base, set_)
    if runs:
        from avsa.stages.lineage import run_doctor_runs

        for line in run_doctor_runs(config, silent * 60):
            typer.echo(line)
        return
    from avsa.stages.doctor import run_doctor

    if not run_doctor(config, container, docker_args or [], as_json, typer.echo):
        raise typer.Exit(1)


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
