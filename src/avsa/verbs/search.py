"""The verb that searches: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsa.errors import UserError
from avsa.verbs.options import Base, Params, Set

Hours = Annotated[float | None, typer.Option("--max-hours", min=0.001, help="End, with the finalists, by then.")]


def sweep(
    file: Annotated[Path | None, typer.Argument(help="Such as configs/sweep/curriculum.yaml.")] = None,
    study: Annotated[str | None, typer.Option(help="The study's name; by default the file's.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(envvar="AVSA_SWEEP_STORAGE", help="sqlite:///FILE, journal:FILE or postgresql://USER:PW@HOST/DB."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, each on its share of cores or its GPU.")] = 1,
    max_trials: Annotated[int | None, typer.Option(min=1, help="Trials of the search, in place of the file's.")] = None,
    max_hours: Hours = None,
    report: Annotated[str | None, typer.Option(metavar="STUDY", help="Write its report as it stands now.")] = None,
    adopt: Annotated[str | None, typer.Option(metavar="STUDY", help="Write its winner to configs/found/.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="With --adopt: this one, not the winner.")] = None,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Search for a better configuration. Stopped, the same command goes on; several on one storage work together."""
    from avsa.sweep.run import Choices, run_adopt, run_report, run_sweep

    choices = Choices(params, base, tuple(set_ or ()), study, storage, workers, max_trials, max_hours)
    if sum(wish is not None for wish in (file, report, adopt)) != 1:
        raise UserError("give a sweep file, such as configs/sweep/curriculum.yaml, or --report or --adopt STUDY")
    if file:
        run_sweep(file, choices)
    elif report:
        typer.echo(run_report(report, choices))
    elif adopt:
        typer.echo(run_adopt(adopt, trial, choices))


VERBS = (sweep,)
