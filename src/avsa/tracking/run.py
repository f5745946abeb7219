"""A stage as an MLflow run: what it ran with, what it measured, and how it ended."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.errors import UserError
from avsa.resolve import Resolved

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_FILE = "run.json"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Run:
    """An open MLflow run; satisfies the engine's tracker protocol."""

    client: MlflowClient
    run_id: str
    uri: str

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record several metrics of one step in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, [Metric(key, float(value), now, step) for key, value in metrics.items()])

    def flush(self) -> None:
        """Nothing waits: every call is stored before it returns."""

    def last_step(self, prefix: str = "") -> int:
        """The last step that any metric whose name begins so was logged for, −1 where there is none.

        System metrics are left out: they count seconds, not steps.
        """
        known = self.client.get_run(self.run_id).data.metrics
        names = [name for name in known if name.startswith(prefix) and not name.startswith("system/")]
        return max((m.step for name in names for m in self.client.get_metric_history(self.run_id, name)), default=-1)

    def history(self, name: str) -> dict[int, float]:
        """Step -> value of a metric."""
        return {m.step: m.value for m in self.client.get_metric_history(self.run_id, name)}

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file with the run."""
        self.client.log_artifact(self.run_id, str(path), folder)


class Silent:
    """The tracker of every rank but the first."""

    run_id = ""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing is recorded."""

    def flush(self) -> None:
        """Nothing waits."""

    def last_step(self) -> int:
        """Nothing was logged."""
        return -1


def tracking_uri(chosen: str, root: Path | None = None) -> str:
    """``chosen``, else ``MLFLOW_TRACKING_URI``, else SQLite in the project folder; a SQLite path is made absolute.

    DVC runs some experiments in temporary copies of the project below ``.dvc/tmp/exps``, which it deletes: the folder
    of the project itself is meant.
    """
    folder = (root or Path.cwd()).resolve()
    copies = (path for path in folder.parents if path.parts[-3:] == (".dvc", "tmp", "exps"))
    folder = next((path.parents[2] for path in copies), folder)
    uri = chosen or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{folder / uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else uri


@contextmanager
def stage_run(resolved: Resolved, stage: str, name: str, remembered: Path | None = None) -> Iterator[Run]:
    """Open the MLflow run of a stage; its status tells how the block ended.

    FINISHED; KILLED on an interrupt (Ctrl-C, SIGTERM); FAILED on any other exception.

    Args:
        resolved: the configuration; recorded as the artifact ``config.yaml`` and as params ``cfg.*``.
        stage: the verb, recorded as the tag ``avsa.stage``.
        name: what the run is called.
        remembered: a file that keeps the run's id across interruptions; where it exists, that run is continued, unless
            the store does not have it any more.

    Raises:
        UserError: the tracking store cannot be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(resolved.config.tracking.uri)
    mlflow.set_tracking_uri(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces every monitor and migration
    _check_local(uri)
    try:
        client = mlflow.MlflowClient()
        if mlflow.get_experiment_by_name(resolved.config.tracking.experiment) is None:
            mlflow.create_experiment(resolved.config.tracking.experiment, artifact_location=_artifacts(uri))
        mlflow.set_experiment(resolved.config.tracking.experiment)
        again = _remembered(client, remembered, uri) if remembered else None
        active = mlflow.start_run(run_id=again, run_name=None if again else name, log_system_metrics=True)
    except (MlflowException, OSError) as error:
        raise UserError(f"{uri}: the tracking store cannot be used: {' '.join(str(error).split())[:200]}") from None
    run = Run(client, active.info.run_id, uri)
    status = "FAILED"
    try:
        if remembered:
            write_run_file(remembered, run)
        flat = {f"cfg.{key}": str(value)[:6000] for key, value in resolved.flat().items()}
        known = active.data.params  # a continued run keeps what it began with: params cannot change
        if missing := {key: value for key, value in flat.items() if key not in known}:
            mlflow.log_dict(resolved.config.model_dump(mode="json"), "config.yaml")
            mlflow.log_params(missing)
        mlflow.set_tags({"avsa.stage": stage, **_code_version(), **_dvc_stage()})
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        mlflow.end_run(status)


def write_run_file(path: Path, run: Run) -> None:
    """Say beside a stage's output which run made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"run_id": run.run_id, "tracking_uri": run.uri}, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_run_file(path: Path) -> dict[str, str] | None:
    """The content of a run file, or None where there is none; :class:`UserError` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"run_id": content["run_id"], "tracking_uri": content["tracking_uri"]}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a run file: delete it") from None


def _remembered(client: MlflowClient, path: Path, uri: str) -> str | None:
    """The id of the run to continue, None where there is none or the store has lost it."""
    from mlflow.exceptions import MlflowException

    old = read_run_file(path)
    if old is None or old["tracking_uri"] != uri:
        return None
    try:
        return old["run_id"] if client.get_run(old["run_id"]).info.lifecycle_stage == "active" else None
    except MlflowException:
        return None


def _check_local(uri: str) -> None:
    """Refuse at once a SQLite file that cannot be used; MLflow would try it again for minutes."""
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:  # an empty file is an empty database
            file.seek(0)
            head = file.read(16)
    except OSError as error:
        raise UserError(f"{uri}: the tracking store cannot be used: {error.strerror}") from None
    if head not in (b"", b"SQLite format 3\0"):
        raise UserError(f"{uri}: the tracking store cannot be used: not a SQLite database")


def _artifacts(uri: str) -> str | None:
    """Artifacts of a local store lie beside its database, not in whatever folder a command was started in."""
    return (Path(uri.removeprefix(SQLITE)).parent / "mlartifacts").as_uri() if uri.startswith(SQLITE) else None


def _code_version() -> dict[str, Any]:
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.dirty": bool(changes.stdout.strip())}


def _dvc_stage() -> dict[str, str]:
    return {"dvc.stage": os.environ["DVC_STAGE"]} if "DVC_STAGE" in os.environ else {}
