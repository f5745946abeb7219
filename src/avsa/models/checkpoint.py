"""A network in a file: weights, the shapes they belong to, and where they come from."""

from __future__ import annotations

import dataclasses
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from avsa.errors import UserError
from avsa.models.network import AVSANetwork, NetworkSpec, build_network, load_weights

FORMAT = 1


def save_network(path: Path, network: AVSANetwork, provenance: dict[str, Any]) -> None:
    """Write atomically; ``provenance`` is plain data (run name, seed, hashes).

    Raises:
        UserError: the file cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    content = {"format": FORMAT, "spec": dataclasses.asdict(network.spec), "model": state, "provenance": provenance}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as a RuntimeError
        with suppress(OSError):
            temporary.unlink()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be written: {reason}") from error


def load_network(path: Path) -> tuple[AVSANetwork, dict[str, Any]]:
    """The network of a checkpoint, on the CPU, and its provenance.

    Raises:
        UserError: no such file, not a checkpoint of this project, or damaged.
    """
    content = _read(path)
    try:
        network = build_network(NetworkSpec(**content["spec"]), seed=0)
    except TypeError:
        raise UserError(f"{path}: its network has settings that this version does not know") from None
    load_weights(network, content["model"], str(path))
    return network, content["provenance"]


def load_into(network: AVSANetwork, path: Path) -> None:
    """Start ``network`` from a checkpoint of the same architecture; :class:`UserError` if it is of another."""
    load_weights(network, _read(path)["model"], str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # checksums, which torch.load does not look at
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except (RuntimeError, OSError, zipfile.BadZipFile, pickle.UnpicklingError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as a checkpoint: {str(error).partition(chr(10))[0][:120]}") from None
    parts = {"spec", "model", "provenance"}
    if not isinstance(content, dict) or content.get("format") != FORMAT or not parts <= content.keys():
        raise UserError(f"{path}: not a checkpoint of this project (format {FORMAT})")
    return content
