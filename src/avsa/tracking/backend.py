"""``mlflow run --backend avsa``: MLflow's local backend, but a run ends as its stage says.

MLflow 3.17 compares the name of a status with numbers, so that every run whose command ends with another code than 0
becomes FAILED, also one that was stopped; and a run whose container cannot be started stays RUNNING.
"""

from __future__ import annotations

from typing import Any

ENDED = ("FINISHED", "FAILED", "KILLED")


def backend() -> Any:
    """The backend, for MLflow's group of plugins ``mlflow.project_backend``; its runs are waited for."""
    from mlflow import MlflowClient
    from mlflow.exceptions import ExecutionException
    from mlflow.projects import utils
    from mlflow.projects.backend.local import LocalBackend

    class Backend(LocalBackend):
        def run(
            self,
            project_uri: str,
            entry_point: str,
            params: dict[str, Any],
            version: str | None,
            backend_config: dict[str, Any],
            tracking_uri: str,
            experiment_id: str,
        ) -> Any:
            folder = utils.fetch_and_validate_project(project_uri, version, entry_point, params)
            run = utils.get_or_create_run(None, project_uri, experiment_id, folder, version, entry_point, params)
            run_id, client = run.info.run_id, MlflowClient(tracking_uri)
            known = {utils.MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG: run_id, utils.PROJECT_SYNCHRONOUS: True}
            more = (version, {**backend_config, **known}, tracking_uri, experiment_id)
            start: Any = super().run
            code = 1
            try:
                submitted = start(project_uri, entry_point, params, *more)
                code = submitted.command_proc.wait()
            except KeyboardInterrupt:  # of a terminal, where the command got it too
                submitted.wait()
                raise
            finally:
                if (status := client.get_run(run_id).info.status) not in ENDED:
                    status = _ended_by(code)
                    client.set_terminated(run_id, status)
            if code:
                raise ExecutionException(f"run {run_id} ended as {status}")
            return submitted

    return Backend()


def _ended_by(code: int) -> str:
    """The status for a command that said nothing of its end: KILLED by a signal, as shells and engines report it."""
    return "FINISHED" if code == 0 else "KILLED" if code < 0 or code > 128 else "FAILED"
