"""The verb that runs the whole pipeline: repro."""

from __future__ import annotations

from avsa.verbs.options import Base, Params, Set, resolved


def repro(params: Params = None, base: Base = None, set_: Set = None) -> None:
    """Run all stages that are not up to date, as runs below one: `dvc repro`; what is chosen here is an experiment.

    With --base or --set it is `dvc exp run -S`, which writes the choice to params.yaml."""
    from avsa.stages.repro import run_repro

    run_repro(resolved(params, base, set_), base, set_ or ())


VERBS = (repro,)
