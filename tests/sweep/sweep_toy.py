"""A stand-in for training: a function of the parameters, in the same processes, studies and folders.

``python -m sweep_toy FOLDER STORAGE WORKERS`` serves the study of FOLDER, as a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.config import Config
from avsa.resolve import Resolved
from avsa.sweep.agenda import Agenda
from avsa.sweep.places import Place
from avsa.sweep.plan import Plan, make_plan
from avsa.sweep.process import Job, Outcome, Report, server
from avsa.sweep.search import Search
from avsa.sweep.space import Params, Space
from avsa.sweep.storage import open_storage
from avsa.sweep.studies import Studies, open_studies

if TYPE_CHECKING:
    from optuna import Study, Trial

SPACE: dict[str, Any] = {
    "pretrain": {"temperature": {"float": [0.01, 1.0], "log": True, "paper": 0.07}},
    "model": {"translator": {"depth": {"int": [1, 4], "paper": 2}}},
}
TEMPERATURE, DEPTH = "pretrain.temperature", "model.translator.depth"
STEPS, CLIPS = 4, 10  # of a trial, of a step
IDENTITY = {"space": "toy", "configuration": "toy", "data": "toy"}


def toy_plan(**changes: Any) -> Plan:
    content = {
        "study": "toy",
        "budget": {"clips": STEPS * CLIPS},
        "validations": STEPS,
        "metrics": ["within-clip"],
        "trials": 6,
        "random": False,
        "pruning": None,
        "finalists": {"count": 0},
        "space": SPACE,
    }
    return make_plan(content | changes, "toy")


def in_memory() -> Studies:
    """Studies without trials."""
    import optuna

    search, random, finalists = (optuna.create_study(direction="maximize") for _ in range(3))
    return Studies(search, random, finalists)


def value(temperature: float, depth: int, seed: int = 0) -> float:
    """Highest, 100, at a temperature of 0.1 and depth 3; a seed adds its number."""
    return 100 - 300 * abs(temperature - 0.1) - 5 * abs(depth - 3) + seed


def train(job: Job, report: Report) -> Outcome:
    """Four steps; each leaves a line and the number of the last one, from which an interrupted trial goes on.

    ``orders`` in the folder of the study says what happens at a step of a trial: a signal to itself, an error, seconds.
    """
    config = job.resolved.config
    state, log = job.folder / "step", job.folder.parents[1] / "log"
    orders = json.loads((job.folder.parents[1] / "orders").read_text())
    report.run(f"run-{job.folder.name}")
    found = value(config.pretrain.temperature, config.model.translator.depth, job.seed)
    for step in range(int(state.read_text()) if state.exists() else 0, STEPS):
        order = orders.get(f"{job.name} {step}", orders.get("all", 0))
        with log.open("a") as file:
            file.write(f"{job.folder.parent.name}/{job.folder.name} {step}\n")
        if order == "memory":
            raise MemoryError("8 GB")
        if order == "error":
            raise RuntimeError("no such thing")
        if order == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(order)
        state.write_text(str(step + 1))
        report((step + 1) * CLIPS, found * (step + 1) / STEPS)
        report.hear()
    return Outcome([found], {"within-clip": (found, found - 1, found + 1)}, 0.01)


def toy_search(folder: Path, plan: Plan, storage: str, workers: int = 1, **changes: Any) -> tuple[Search, Studies]:
    """What serves the plan's study; it beats four times a second."""
    space = Space(plan.space, "toy")
    studies = open_studies(plan, space.paper, open_storage(storage), IDENTITY, {}, storage)
    orders = folder / "orders"
    if not orders.exists():
        orders.write_text("{}")

    def describe(study: Study, trial: Trial, params: Params) -> Job:
        part = study.study_name.removeprefix(plan.study).strip(".") or "search"
        config = Config.model_validate(
            {"pretrain": {"temperature": params[TEMPERATURE]}, "model": {"translator": {"depth": params[DEPTH]}}}
        )
        facts = trial.user_attrs
        place = folder / part / str(facts.get("origin", trial.number))
        return Job(f"{study.study_name} {trial.number}", place, folder, Resolved(config, {}), facts["seed"])

    here = [Place(number, frozenset(os.sched_getaffinity(0))) for number in range(workers)]
    agenda = Agenda(plan, studies, workers, changes.pop("deadline", None))
    chosen = {"beat_s": 0.25, "grace_s": 30.0, **changes}
    return Search(agenda, space, here, server(["sweep_toy"]), train, describe, {}, **chosen), studies


if __name__ == "__main__":
    from sweep_toy import toy_plan, toy_search  # under the name that other processes know

    where = Path(sys.argv[1])
    raise SystemExit(toy_search(where, toy_plan(**json.loads(sys.argv[4])), sys.argv[2], int(sys.argv[3]))[0].run())
