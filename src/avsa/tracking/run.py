"""A stage as an MLflow run: what it ran with, what it read, measured and wrote, and how it ended."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from tqdm import tqdm

from avsa.resolve import Resolved
from avsa.tracking.environment import code_version, environment, experiment_tags, source_tags
from avsa.tracking.items import Item, stage_files
from avsa.tracking.journal import JOURNAL, Journal, read_owner
from avsa.tracking.names import run_name
from avsa.tracking.process import lives, this_process
from avsa.tracking.recorder import Run, Silent
from avsa.tracking.restored import note_made, record_restored
from avsa.tracking.run_file import RUN_FILE, read_run_file, write_run_file
from avsa.tracking.sender import Sender
from avsa.tracking.store import Store, open_store, project_folder, public, refused, tracking_uri
from avsa.tracking.system import SystemMetrics
from avsa.tracking.takeover import alone_with

if TYPE_CHECKING:
    import mlflow.entities
    from mlflow import MlflowClient

__all__ = ["RUN_FILE", "Run", "Silent", "read_run_file", "stage_run", "tracking_uri", "write_run_file"]

T = TypeVar("T")
SPOOL = Path("runs/spool")
PROCESS, PARENT = "avsa.process", "mlflow.parentRunId"
GENERATED = re.compile(r"[a-z]+-[a-z]+-\d+")  # names that MLflow gives, such as bold-owl-12
KILLED_WAIT_S = 10.0  # who sends SIGTERM sends SIGKILL soon


@contextmanager
def stage_run(
    resolved: Resolved,
    stage: str,
    name: str,
    remembered: Path | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
) -> Iterator[Run]:
    """Open the MLflow run of a stage; its status tells how the block ended.

    FINISHED; KILLED on an interrupt (Ctrl-C, SIGTERM); FAILED on any other exception, with its traceback and the files
    that the exception names as evidence. A store that goes away meanwhile stops nothing.

    Args:
        resolved: the configuration; recorded as the artifact ``config.yaml`` and as params ``cfg.*``.
        stage: the verb, recorded as the tag ``avsa.stage``.
        name: what the run is called, beside what tells it from others of that name.
        remembered: a file that keeps the run's id across interruptions; where it exists, that run is continued, unless
            the store does not have it any more.
        arguments: of the verb, recorded as params ``arg.*``.
        reads: what the verb reads and, ``writes``, what it writes. Recorded with DVC's hashes; where DVC started the
            process, dvc.yaml says what they are instead.

    Raises:
        UserError: the tracking store cannot be reached at the beginning.
    """
    from mlflow.exceptions import MlflowException

    store = open_store(resolved.config.tracking)
    try:
        run, known = _open(store, resolved, stage, name, remembered)
    except (MlflowException, OSError) as error:
        raise refused(store.uri, error) from None
    system = SystemMetrics(run.log, known.info.start_time / 1000, measured=lambda: run.last_step() >= 0)
    status = "FAILED"
    try:
        if remembered:
            write_run_file(remembered, run)
        _describe(run, known, resolved, arguments or {})
        files = _tried("what it reads", lambda: stage_files(reads, writes))
        if files:
            run.items(_tried("what it reads", files.inputs) or [])
        yield run
        if files:
            made = _tried("what it wrote", files.outputs) or []
            run.items(made)
            _look_around(run, files.root, made)
        status = "FINISHED"
    except BaseException as error:
        status = ended_by(error)
        if status == "FAILED":
            _explain(run, error)
        raise
    finally:
        system.close()
        run.status(status)
        _close(run, status, resolved.config.tracking.wait_s)


def ended_by(error: BaseException) -> str:
    """The status of a run that ends with this exception."""
    return "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"


def spool() -> Path:
    """Where journals lie: one folder per run that has not ended, or whose entries the store does not have yet."""
    return project_folder() / SPOOL


def last_steps(run: mlflow.entities.Run) -> dict[str, int]:
    """Metric -> the last step the store has; MLflow's public API gives that only with the whole history."""
    return {metric.key: metric.step for metric in run.data._metric_objs}


def _open(
    store: Store, resolved: Resolved, stage: str, name: str, remembered: Path | None
) -> tuple[Run, mlflow.entities.Run]:
    """The run, begun or continued, and what the store knows of it."""
    client, uri = store.client, public(store.uri)
    process = {"uri": uri, **this_process()}
    tags = {"avsa.stage": stage, PROCESS: json.dumps(process), **source_tags(), **code_version(), **experiment_tags()}
    launched = os.environ.pop("MLFLOW_RUN_ID", None)  # by `mlflow run`, of one stage or of a whole pipeline
    again = _remembered(client, remembered, uri) if remembered else None
    full_name = run_name(name, resolved, tags)
    fresh = again is None
    if launched and "DVC_STAGE" in os.environ:
        tags[PARENT] = launched
    elif launched and again:
        if launched != again:
            client.set_tag(launched, PROCESS, tags[PROCESS])
            client.set_tag(launched, PARENT, again)  # it stays empty: what it was launched for goes on in the other
    elif launched:
        again, known = launched, client.get_run(launched)
        fresh = not known.data.metrics
        tags = {tag: tags[tag] for tag in tags if not (tag.startswith("mlflow.") and tag in known.data.tags)}  # project
        if GENERATED.fullmatch(known.info.run_name or ""):
            client.update_run(again, name=full_name)
    if again:
        client.set_tag(again, PROCESS, tags[PROCESS])  # before it runs: who looks for dead runs asks for this process
        client.update_run(again, "RUNNING")
        known = client.get_run(again)
    else:
        known = client.create_run(store.experiment_id, tags=tags, run_name=full_name)
    run_id = known.info.run_id
    journal, whole = _journal(run_id, process, fresh)
    sender = Sender(journal, client)
    run = Run(run_id, uri, client, known.info.experiment_id, journal, sender, whole, last_steps(known))
    run.tags({**tags, **environment()})
    return run, known


def _journal(run_id: str, process: dict[str, Any], fresh: bool) -> tuple[Journal, bool]:
    """The run's journal, and whether it has everything since the run began.

    What a process left that is gone is continued; beside one that lives, which serves the same run, there is another.
    """
    folder = spool() / run_id
    folder.mkdir(parents=True, exist_ok=True)
    with alone_with(folder):
        owner = read_owner(folder) or {}
        if (folder / JOURNAL).exists() and owner.get("pid") != os.getpid() and lives(owner) is not False:
            folder, owner = spool() / f"{run_id}.{os.getpid()}", {}
        whole = fresh or bool(owner.get("whole"))
        return Journal(folder, {**process, "whole": whole}), whole


def _describe(run: Run, known: mlflow.entities.Run, resolved: Resolved, arguments: Mapping[str, Any]) -> None:
    """Configuration and arguments. A continued run keeps what it began with: params cannot change."""
    values = {f"cfg.{key}": public(str(value)) for key, value in resolved.flat().items()}
    values |= {f"arg.{key}": public(str(value)) for key, value in arguments.items()}
    recorded = {key for entry in run.journal.entries() if entry["kind"] == "params" for key in entry["params"]}
    missing = {key: value for key, value in values.items() if key not in recorded | known.data.params.keys()}
    if missing:
        config = yaml.safe_dump(resolved.config.model_dump(mode="json"), sort_keys=False)
        run.text("config.yaml", public(config))
        run.params(missing)


def _explain(run: Run, error: BaseException) -> None:
    """Why it failed: the traceback, and files that the exception names."""
    run.text("traceback.txt", public("".join(traceback.format_exception(error))))
    for path in getattr(error, "evidence", ()):
        if path.exists():
            run.artifact(path, "evidence")


def _look_around(run: Run, root: Path, made: Sequence[Item]) -> None:
    """Of a stage that DVC started: what it made, and what DVC restored before it."""
    stage = os.environ.get("DVC_STAGE")
    if stage:
        note_made(root, stage, made)
        _tried("what DVC restored", lambda: record_restored(root, run.client, run.experiment_id, stage))


def _close(run: Run, status: str, wait_s: float) -> None:
    settled = run.sender.settle(min(wait_s, KILLED_WAIT_S) if status == "KILLED" else wait_s)
    run.sender.close()
    if not settled:
        where = run.journal.folder
        _warn(f"not all is stored: the rest of run {run.run_id} waits in {where}; send it: avsa doctor --runs")
    run.journal.close(delete=settled and status != "KILLED")  # a killed run may go on


def _tried(what: str, look: Callable[[], T]) -> T | None:
    """Bookkeeping never ends a run: what cannot be looked up is missing, with a line."""
    try:
        return look()
    except Exception as error:
        _warn(f"{what} is not recorded: {' '.join(str(error).split())[:200]}")
        return None


def _warn(text: str) -> None:
    tqdm.write(f"warning: {text}", file=sys.stderr)


def _remembered(client: MlflowClient, path: Path, uri: str) -> str | None:
    """The id of the run to continue, None where there is none or the store has lost it."""
    from mlflow.exceptions import MlflowException

    old = read_run_file(path)
    if old is None or old["tracking_uri"] != uri:
        return None
    try:
        return old["run_id"] if client.get_run(old["run_id"]).info.lifecycle_stage == "active" else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
