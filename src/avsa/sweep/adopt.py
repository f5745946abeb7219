"""The winner of a search as an overlay of the configuration, with where it comes from."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from avsa.config import Config
from avsa.errors import UserError
from avsa.resolve import PARAMS, Resolved, resolve
from avsa.sweep.finalists import Candidate, by_seed, named, winner
from avsa.sweep.plan import Plan
from avsa.sweep.space import Space
from avsa.sweep.studies import BASE, IDENTITY, PARENT, Studies, identity
from avsa.sweep.timetable import configure
from avsa.sweep.trial import TEST

FOUND = Path("configs/found")
log = logging.getLogger(__name__)


def adopt(studies: Studies, plan: Plan, params: Path | None, trial: int | None, folder: Path = FOUND) -> Path:
    """Write ``configs/found/<study>.yaml``; with it as base, the stages come to the trial's figures.

    Args:
        params: the file that chooses, as of the search.
        trial: of the search, by number; by default the winner of the finalists, or the best trial.

    Raises:
        UserError: no complete trial, no such trial, several metrics and no trial named, a params.yaml that sets
            something that the trial has otherwise.
    """
    candidate = _chosen(studies, plan, trial)
    origin: dict[str, Any] = studies.search.user_attrs[BASE]
    space = Space(plan.space, f"study {plan.study}")
    under = resolve(params, origin["set"], origin["base"])
    known = studies.search.user_attrs[IDENTITY]
    if identity(plan, under, known["data"]) != known:
        raise UserError(f"{params or PARAMS} or the overlays below it were changed since study {plan.study} began")
    _compare_data(under.config, known["data"], plan.study)
    wanted = configure(under, plan, space, dict(candidate.params)).config
    tree: dict[str, Any] = {"base": origin["base"]} if origin["base"] else {}
    for layer in (*map(_override, origin["set"]), space.fill(candidate.params)):
        tree = _merged(tree, layer)
    runs = tree["pretrain"]["runs"]
    for name in plan.runs:
        runs[name] = [phase.model_dump(exclude_defaults=True) for phase in wanted.pretrain.runs[name]]
    tree = _merged(tree, {"engine": {"threads": candidate.trial.user_attrs["threads"]}})
    path = folder / f"{plan.study}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "".join(f"# {line}\n" for line in provenance(studies, plan, candidate))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(header + yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    _check(resolve(params, (), str(temporary)), wanted, str(params or PARAMS), temporary)
    temporary.replace(path)
    return path


def provenance(studies: Studies, plan: Plan, candidate: Candidate) -> list[str]:
    """Where a configuration comes from, line by line."""
    trial = candidate.trial
    known: dict[str, str] = studies.search.user_attrs.get(IDENTITY, {})
    scores = ", ".join(f"{metric} {value:.4f}" for metric, value in zip(plan.metrics, trial.values, strict=True))
    lines = [
        f"Found by avsa sweep: study {plan.study}, {candidate.name} (trial {trial.number}).",
        f"Validation, seed {plan.seed}: {scores}; MLflow run {trial.user_attrs.get('run_id', 'none')}.",
    ]
    for figure, where in ((plan.metrics[0], "Validation"), (TEST + plan.metrics[0], "Test")):
        if found := by_seed(studies, candidate.name, figure):
            listed = ", ".join(f"{value:.4f} (seed {seed})" for seed, value in sorted(found.items()))
            lines.append(f"{where}, unseen seeds: {plan.metrics[0]} {listed}.")
    runs = [
        t.user_attrs.get("run_id", "none")
        for t in studies.finalists.get_trials(deepcopy=False)
        if t.user_attrs.get("kind") == candidate.name and t.state.name == "COMPLETE"
    ]
    if runs:
        lines.append(f"MLflow runs of these seeds: {', '.join(runs)}.")
    lines.append(f"MLflow run of the study: {studies.search.user_attrs.get(PARENT, {}).get('run_id', 'none')}.")
    lines.append(f"Data {known.get('data', '')}; configuration below {known.get('configuration', '')}.")
    lines.append("engine.threads is the trial's: on the CPU, other numbers of threads round otherwise.")
    return lines


def _chosen(studies: Studies, plan: Plan, trial: int | None) -> Candidate:
    if trial is None and len(plan.metrics) > 1:
        front = ", ".join(str(t.number) for t in studies.search.best_trials) or "none yet"
        raise UserError(
            f"study {plan.study} has {len(plan.metrics)} metrics: choose by --trial; its Pareto front: {front}"
        )
    candidate = winner(studies, plan) if trial is None else named(studies, f"search {trial}")
    if candidate is None and trial is not None:
        raise UserError(f"study {plan.study} has no complete trial {trial}")
    if candidate is None:
        raise UserError(f"study {plan.study} has no complete trial yet: there is nothing to adopt")
    return candidate


def _compare_data(config: Config, searched: str, study: str) -> None:
    """Warn where the clips here are not those of the study; where there are none, there is nothing to compare."""
    from avsa.stages.inputs import open_store

    with suppress(UserError):
        store = open_store(config)
        if store.digest != searched:
            log.warning("study %s was made with other clips than %s has now: figures will differ", study, store.root)


def _override(item: str) -> dict[str, Any]:
    path, _, text = item.partition("=")
    value = yaml.safe_load(text)
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _check(found: Resolved, wanted: Config, params: str, written: Path) -> None:
    """Raises UserError where the file that chooses lies above the overlay and says something else."""
    flat, trial = found.flat(), Resolved(wanted, {}).flat()
    free = ("base", "pipeline", "tracking", "engine")
    wrong = [path for path in flat if not path.startswith(free) and flat[path] != trial.get(path)]
    if wrong:
        written.unlink()
        raise UserError(f"{params} sets {wrong[0]}, which the trial has otherwise: remove it there, then adopt again")
