"""What the entries of a journal do to the tracking store. Delivered twice, each has the effect of once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from avsa.tracking.journal import Entry, Journal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100  # MLflow's limits for a request
FINAL = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "INVALID_STATE"}
"""Errors of an entry itself: to send it again would not help."""
MD5, PATH = "dvc.md5", "dvc.path"
"""Tags of a model that is known by reference: DVC's hash of its file, and where it lies in the project."""


def is_final(error: Exception) -> bool:
    """Whether an entry can never be delivered; a store that is away, slow or full is none of its faults."""
    return getattr(error, "error_code", "") in FINAL or isinstance(error, FileNotFoundError)


def deliver_metrics(client: MlflowClient, entries: Sequence[Entry]) -> None:
    """Metrics of one run, of one checkpoint or none, each with its step and the time it was recorded at.

    The store keeps equal ones once.
    """
    from mlflow.entities import LoggedModelInput, Metric

    run_id, md5 = entries[0]["run"], entries[0].get("md5")
    model_id = None
    if md5:
        run = client.get_run(run_id)
        model_id = next((m.model_id for m in find_models(client, [run.info.experiment_id], md5)), None)
        made = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
        if model_id and model_id not in made:
            client.log_inputs(run_id, models=[LoggedModelInput(model_id)])
    metrics = [
        Metric(key, value, entry["time"], entry["step"], model_id=model_id, run_id=run_id)
        for entry in entries
        for key, value in entry["metrics"].items()
    ]
    for first in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics[first : first + METRICS_AT_ONCE])


def deliver(client: MlflowClient, journal: Journal, entry: Entry) -> None:
    """An entry of any other kind."""
    run_id, kind = entry["run"], entry["kind"]
    if kind == "params":
        _params(client, run_id, entry["params"])
    elif kind == "tags":
        _tags(client, run_id, entry["tags"])
    elif kind == "artifact":
        client.log_artifact(run_id, str(journal.file(entry["file"])), entry["folder"])
        journal.drop(entry["file"])
    elif kind == "items":
        log_items(client, run_id, entry["items"])
    elif kind == "model":
        _model(client, entry)
    elif kind == "status":
        _status(client, run_id, entry)
    else:
        raise ValueError(f"no entry of a journal is of kind {kind!r}")


def _params(client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
    from mlflow.entities import Param

    items = [Param(key, value) for key, value in params.items()]
    for first in range(0, len(items), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=items[first : first + PARAMS_AT_ONCE])


def _tags(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def log_items(client: MlflowClient, run_id: str, items: Sequence[Mapping[str, str]]) -> None:
    """What a stage read or wrote, as data sets: the digest is DVC's hash, the context says which of both."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    datasets = [
        DatasetInput(
            Dataset(item["path"], item["hash"], "local", json.dumps({"uri": item["path"]})),
            [InputTag("mlflow.data.context", item["role"])],
        )
        for item in items
    ]
    client.log_inputs(run_id, datasets=datasets)


def _model(client: MlflowClient, entry: Entry) -> None:
    """A checkpoint by reference: nothing is uploaded."""
    from mlflow import create_external_model
    from mlflow.entities import LoggedModelOutput

    run_id = entry["run"]
    experiment = client.get_run(run_id).info.experiment_id
    model = next((m for m in find_models(client, [experiment], entry["md5"]) if m.source_run_id == run_id), None)
    if model is None:
        model = create_external_model(
            entry["name"],
            source_run_id=run_id,
            tags={MD5: entry["md5"], PATH: entry["path"]},
            params=entry["params"],
            model_type="avsa",
            experiment_id=experiment,
        )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, entry["step"])])


def _status(client: MlflowClient, run_id: str, entry: Entry) -> None:
    if entry["status"] in ("RUNNING", "SCHEDULED"):
        client.update_run(run_id, entry["status"])
    else:
        client.set_terminated(run_id, entry["status"], entry["time"])


def find_models(client: MlflowClient, experiments: list[str], md5: str) -> list[LoggedModel]:
    """The models of these experiments whose weights have this hash, the newest first."""
    return list(client.search_logged_models(experiments, filter_string=f"tags.`{MD5}` = '{md5}'"))
