"""The verb ``sweep``."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.errors import UserError
from avsa.resolve import Resolved, overlay, resolve
from avsa.sweep.agenda import Agenda
from avsa.sweep.places import places, visible_gpus
from avsa.sweep.plan import WITHIN_CLIP, Plan, make_plan, read_plan
from avsa.sweep.process import Job, server
from avsa.sweep.report import PAGE, write_report
from avsa.sweep.search import Search
from avsa.sweep.space import Space
from avsa.sweep.storage import default_url, folder, hold_alone, open_storage, public, reachable
from avsa.sweep.studies import BASE, PARENT, Studies, identity, load_studies, open_studies, until
from avsa.sweep.summary import effort_table, verdicts
from avsa.sweep.timetable import check, configure
from avsa.sweep.trial import TrainAndMeasure

if TYPE_CHECKING:
    from optuna import Study, Trial

    from avsa.tracking.run import Run

WAIT_S = 30.0  # for whoever began the study to begin its run
PRELOAD = [
    *("avsa.cli", "avsa.sweep.trial", "avsa.stages.trial", "avsa.stages.evaluate_binary"),
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store"),
]


@dataclass(frozen=True)
class Choices:
    """What the command line says about a search."""

    params: Path | None = None
    base: str | None = None
    overrides: tuple[str, ...] = ()
    study: str | None = None
    storage: str | None = None
    workers: int = 1
    max_trials: int | None = None
    max_hours: float | None = None


def run_sweep(path: Path, choices: Choices) -> None:
    """Search as a sweep file says, or go on with it; ends with a report.

    Raises:
        UserError: a mistake in the file, a storage that cannot be used, a study of something else, missing data, a
            paper's configuration that fails.
        SystemExit: stopped by a signal, after running trials have saved.
    """
    began = time.monotonic()
    plan = _plan(path, choices)
    base = resolve(choices.params, choices.overrides, choices.base)
    space = Space(plan.space, str(path))
    check(base, plan, space)
    data = _data(base, plan)
    url = choices.storage or default_url(plan.study)
    gpus = visible_gpus(base.config.engine)
    here = places(choices.workers, sorted(os.sched_getaffinity(0)), gpus)
    threads = base.config.engine.threads or len(here[0].cores)
    context = server(PRELOAD)  # it imports while this process connects
    storage = open_storage(url)
    lock = hold_alone(url)
    with closing(lock) if lock else nullcontext(), reachable(url):
        origin = {"base": base.config.base, "set": list(choices.overrides)}
        own = identity(plan, base, data)
        studies = open_studies(plan, space.paper, storage, own, {BASE: origin}, url)
        deadline = began + choices.max_hours * 3600 if choices.max_hours else None
        agenda = Agenda(plan, studies, len(here), deadline)
        with _parent(base, plan, studies, url) as run:
            describe = partial(_job, _trial_base(base, threads), plan, space, run.run_id)
            abandoned = partial(_end_run, run)
            facts = {"threads": threads}
            search = Search(
                agenda,
                space,
                here,
                context,
                TrainAndMeasure(plan),
                describe,
                facts,
                say=_say,
                abandoned=abandoned,
                ready=partial(_answers, run),
            )
            if number := search.run():
                raise SystemExit(128 + number)
            page = report(studies, plan, url, run)
    done = "complete" if agenda.complete() else "not complete: the same command goes on"
    _say(f"{done}; report: {page}")


def report(studies: Studies, plan: Plan, url: str, run: Run | None = None) -> Path:
    """Write the report, print what it says in short, and keep it with the study's run. Returns its page."""
    out = folder(plan.study) / "report"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(".report.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that end together write it one after another
        hashes = write_report(studies, plan, url, out)
        if run:
            for path in sorted(out.iterdir()):
                run.artifact(path, "report")
    if run:
        run.tags({f"sweep.{key}_sha256": value for key, value in hashes.items() if value})
        for study in studies:
            run.log({f"trials/{study.study_name}": len(study.get_trials(deepcopy=False))}, step=0)
    for row in effort_table(studies, plan)[1:]:
        _say(f"{row[0]}: {row[1]}; {row[2]} seen in {row[3]} h")
    for text in verdicts(studies, plan):
        _say(text)
    return out / PAGE


def run_report(study: str, choices: Choices) -> Path:
    """Write the report of a study as it stands, also while processes work on it. Returns its page.

    Raises:
        UserError: no such study.
    """
    url = choices.storage or default_url(study)
    return report(*load_studies(study, open_storage(url, create=False), url), url)


def run_adopt(study: str, trial: int | None, choices: Choices) -> Path:
    """Write the winner of a study, or one trial of it, as an overlay.

    Raises:
        UserError: no such study, nothing complete in it, a params.yaml that contradicts it.
    """
    from avsa.sweep.adopt import adopt

    url = choices.storage or default_url(study)
    studies, plan = load_studies(study, open_storage(url, create=False), url)
    return adopt(studies, plan, choices.params, trial)


def _plan(path: Path, choices: Choices) -> Plan:
    plan = read_plan(path)
    changed: dict[str, Any] = {}
    if choices.study:
        changed["study"] = choices.study
    if choices.max_trials:
        changed["trials"] = choices.max_trials
    return make_plan({**plan.model_dump(), **changed}, str(path)) if changed else plan


def _data(base: Resolved, plan: Plan) -> str:
    """The hash of the clips, which have what trials need.

    Raises:
        UserError: no clips, no validation split, no validation to report.
    """
    from avsa.stages.inputs import open_store

    store = open_store(base.config)
    splits = {clip.split for clip in store}
    if missing := {"train", "val"} - splits:
        raise UserError(
            f"{store.root} has no split {' and '.join(sorted(missing))}: a search is judged by clips that neither "
            "training nor the test split has: ingest recordings with a folder val, or set synth.val"
        )
    config = base.config
    if (plan.pruning or WITHIN_CLIP in plan.metrics) and (config.views.crops < 2 or not config.engine.val_batches):
        raise UserError("validation while training needs views.crops of 2 or more and engine.val_batches above 0")
    return store.digest


def _trial_base(base: Resolved, threads: int) -> Resolved:
    """What all trials share: paths that hold in every folder, and the threads of a place."""
    from avsa.tracking.run import tracking_uri

    tracking = {"uri": tracking_uri(base.config.tracking.uri)}
    evaluate: dict[str, Any] = {"action": {"root": _absolute(base.config.evaluate.action.root)}}
    if classes := base.config.evaluate.segmentation.classes:
        evaluate["segmentation"] = {"classes": _absolute(classes)}
    store = {"cache": _absolute(base.config.store.cache)}
    engine = {"threads": threads}
    return overlay(base, {"tracking": tracking, "engine": engine, "evaluate": evaluate, "store": store}, "avsa sweep")


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _job(
    base: Resolved, plan: Plan, space: Space, parent: str, study: Study, trial: Trial, params: dict[str, Any]
) -> Job:
    facts = trial.user_attrs
    part = study.study_name.removeprefix(plan.study).strip(".") or "search"
    name = f"{study.study_name} {trial.number}"
    tags = {
        "mlflow.parentRunId": parent,
        "sweep.study": plan.study,
        "sweep.part": part,
        "sweep.trial": str(trial.number),
        "sweep.kind": str(facts["kind"]),
        "sweep.seed": str(facts["seed"]),
    }
    place = folder(plan.study).resolve() / part / str(facts.get("origin", trial.number))
    resolved = configure(base, plan, space, params)
    final, run_id = part == "finalists", facts.get("run_id", "")
    return Job(name, place, Path.cwd(), resolved, facts["seed"], final, tags, run_id)


@contextmanager
def _parent(base: Resolved, plan: Plan, studies: Studies, url: str) -> Iterator[Run]:
    """The study's MLflow run, which every process that serves the study continues."""
    from avsa.stages import paths
    from avsa.tracking.run import RUN_FILE, stage_run

    known = until(lambda: studies.search.user_attrs.get(PARENT), 0.0 if studies.created else WAIT_S)
    file = folder(plan.study) / RUN_FILE
    if known:
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_suffix(f".{os.getpid()}")  # others that begin may read the file
        own.write_text(json.dumps(known), encoding="utf-8")
        own.replace(file)
    elif studies.created:
        file.unlink(missing_ok=True)  # of an earlier study of this name
    arguments = {"study": plan.study, "budget": plan.budget.total}
    reads = [paths.clips(base.config), paths.statistics(base.config)]
    with stage_run(base, "sweep", plan.study, remembered=file, arguments=arguments, reads=reads) as run:
        studies.search.set_user_attr(PARENT, {"run_id": run.run_id, "tracking_uri": run.uri})
        run.tags({"sweep.study": plan.study, "sweep.storage": public(url)})
        yield run
    if any(trial.state.name == "RUNNING" for study in studies for trial in study.get_trials(deepcopy=False)):
        run.client.update_run(run.run_id, "RUNNING")  # other processes go on


def _end_run(run: Run, run_id: str, goes_on: bool) -> None:
    """A trial that was killed could not end its run itself."""
    with suppress(Exception):
        run.client.set_terminated(run_id, "KILLED" if goes_on else "FAILED")


def _answers(run: Run) -> bool:
    """Whether the tracking store does: a trial that cannot open its run would fail, and the study be used up so."""
    try:
        run.client.get_run(run.run_id)
    except Exception:  # of the network, of a server, of a database
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
