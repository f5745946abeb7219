"""Registered models: versions that refer to a checkpoint by DVC's hash, so that weights are never uploaded."""

from __future__ import annotations

import json
import tempfile
import warnings
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from avsa.config import Config
from avsa.errors import UserError
from avsa.tracking.deliver import MD5, PATH, find_models
from avsa.tracking.recorder import md5_of
from avsa.tracking.store import Store, refused

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature

REFERENCE, CONFIG = "reference.json", "config.yaml"
LOADER = "avsa.stages.serve"
EXTERNAL = "mlflow.model.isExternal"


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    version: str
    uri: str  # "models:/avsa/3"
    new: bool


def register(
    store: Store, name: str, alias: str, network: Path, extra: dict[str, Path], config: Config, card: str
) -> Version:
    """Make a checkpoint a version of the registered model ``name`` and point ``alias`` to it.

    A checkpoint that is a version already gets the alias alone. What is uploaded is small: a description, the
    configuration, ``extra`` files by name, and where the weights are.

    Args:
        card: the model card, Markdown.

    Raises:
        UserError: the run that made the checkpoint did not register it in this store; the store fails.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client, md5 = store.client, md5_of(network)
    try:
        models = find_models(client, [store.experiment_id], md5)
        if not models:
            raise UserError(f"{network}: no run of this tracking store made it: register it where it was trained")
        model = models[0]
        try:
            versions = list(client.search_model_versions(f"name = '{name}'"))
        except MlflowException:
            versions = []
        same = next((one for one in versions if one.tags.get(MD5) == md5), None)
        if same is None:
            with tempfile.TemporaryDirectory() as folder:
                _save(Path(folder) / "model", network, md5, extra, config, model.model_id)
                client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
            if EXTERNAL in model.tags:  # it can be loaded now
                client.delete_logged_model_tag(model.model_id, EXTERNAL)
            tags = {MD5: md5, PATH: network.as_posix(), "avsa.run": str(model.source_run_id)}
            with redirect_stderr(StringIO()):  # MLflow prints what it does, also that the name is not new
                made = mlflow.register_model(f"models:/{model.model_id}", name, tags=tags)
            client.update_model_version(name, made.version, description=card)
        version = str((same or made).version)
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise refused(store.uri, error) from None
    return Version(name, version, f"models:/{name}/{version}", new=same is None)


def signature() -> ModelSignature:
    """What the served model takes and gives (:mod:`avsa.stages.serve`)."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    numbers = Array(DataType.double)
    return ModelSignature(
        Schema([ColSpec(DataType.string, name, required=False) for name in ("path", "base64")]),
        Schema(
            [
                ColSpec(DataType.double, "score"),
                *(ColSpec(numbers, name) for name in ("start_s", "azimuth_deg", "elevation_deg")),
                *(ColSpec(Array(numbers), name) for name in ("video", "audio")),
            ]
        ),
    )


def bad_request(message: str) -> MlflowException:
    """What the server answers with status 400."""
    from mlflow.exceptions import MlflowException

    refused: MlflowException = MlflowException.invalid_parameter_value(message)
    return refused


def _save(folder: Path, network: Path, md5: str, extra: dict[str, Path], config: Config, model_id: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as place:
        data = Path(place)
        reference: dict[str, Any] = {"path": network.as_posix(), "md5": md5, "project": str(Path.cwd())}
        (data / REFERENCE).write_text(json.dumps(reference, indent=1), encoding="utf-8")
        plain = config.model_dump(mode="json", exclude={"base", "tracking"})
        (data / CONFIG).write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        for name, path in extra.items():
            (data / name).write_bytes(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no input example is kept
            mlflow.pyfunc.save_model(
                str(folder),
                loader_module=LOADER,
                data_path=str(data),
                signature=signature(),
                mlflow_model=Model(model_id=model_id),
                pip_requirements=["avsa"],
            )
