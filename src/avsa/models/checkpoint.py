"""A network in a file: weights, the shapes they belong to, and where they come from.

The file (``torch.save``): ``format``; ``spec``, the fields of :class:`NetworkSpec`; ``model``, all tensors by name;
``provenance``, plain data. Its entry ``untrained`` lists the parts that nobody trained: their tensors are random, they
refuse to be run, and training from the file starts them afresh. ``head``, where a task's head belongs to the network:
its tensors by name, and in provenance ``published`` what kind it is (:mod:`avsa.models.convert`).
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsa.errors import UserError
from avsa.models.network import AVSANetwork, NetworkSpec, build_network, load_weights

FORMAT = 1


def save_network(
    path: Path, network: AVSANetwork, provenance: dict[str, Any], head: Mapping[str, Tensor] | None = None
) -> None:
    """Write atomically; ``provenance`` is plain data (run name, seed, hashes).

    Raises:
        UserError: the file cannot be written; what was there stays.
    """
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    content = {"format": FORMAT, "spec": dataclasses.asdict(network.spec), "model": state, "provenance": provenance}
    write_checkpoint(path, content if head is None else {**content, "head": dict(head)})


def load_network(path: Path) -> tuple[AVSANetwork, dict[str, Any]]:
    """The network of a checkpoint, on the CPU, and its provenance.

    Raises:
        UserError: no such file, not a checkpoint of this project, or damaged.
    """
    return unpack(read_checkpoint(path), str(path))


def unpack(content: Mapping[str, Any], where: str) -> tuple[AVSANetwork, dict[str, Any]]:
    """`load_network` of what was read already; `where` names it in messages."""
    _check(content, where)
    try:
        network = build_network(NetworkSpec(**content["spec"]), seed=0)
    except (TypeError, ValueError):
        raise UserError(f"{where}: its network has settings that this version does not know") from None
    load_weights(network, content["model"], where)
    refuse_untrained(network, content["provenance"], where)
    return network, content["provenance"]


def load_into(network: AVSANetwork, path: Path) -> dict[str, Any]:
    """Start ``network`` from a checkpoint of the same architecture; :class:`UserError` if it is of another.

    Returns the checkpoint's provenance.

    Parts that the checkpoint names as untrained stay as they are, of whatever architecture.
    """
    content = read_checkpoint(path)
    _check(content, str(path))
    untrained = tuple(f"{name}." for name in content["provenance"].get("untrained", ()))
    held = {name: tensor for name, tensor in content["model"].items() if not name.startswith(untrained)}
    fresh = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(untrained)}
    load_weights(network, held | fresh, str(path))
    provenance: dict[str, Any] = content["provenance"]
    return provenance


def refuse_untrained(network: AVSANetwork, provenance: Mapping[str, Any], where: str) -> None:
    """Make the parts that provenance names as untrained raise :class:`UserError` when they are run."""

    def refusal(name: str) -> Callable[[nn.Module, Any], None]:
        def refuse(module: nn.Module, arguments: Any) -> None:
            raise UserError(f"{where} holds no trained {name}: use a checkpoint that does, or train it first")

        return refuse

    for name in provenance.get("untrained", ()):
        network.get_submodule(name).register_forward_pre_hook(refusal(name))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """``torch.save``, atomically; :class:`UserError` if it cannot be written, and then what was there stays."""
    temporary = path.with_name(f".{path.name}.tmp")
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


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """The dictionary in a file of ``torch.save``, on the CPU; no code in it is run.

    Raises:
        UserError: no such file, damaged, or something else in it than a dictionary of tensors and plain data.
    """
    try:
        with path.open("rb") as file:
            archived = file.read(2) == b"PK"  # PyTorch before 1.6 wrote no archives
        if archived:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():  # checksums, which torch.load does not look at
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Exception as error:  # the restricted unpickler fails in any way on damaged bytes
        reason = str(error).partition("\n")[0][:120] or "it is empty"
        raise UserError(f"{path}: cannot be read as a checkpoint: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: cannot be read as a checkpoint: it holds no dictionary")
    return content


def _check(content: Mapping[str, Any], where: str) -> None:
    if content.get("format") != FORMAT or not {"spec", "model", "provenance"} <= content.keys():
        hint = (
            "; run avsa convert on a published one first" if content.keys() & {"train_criterion", "state_dict"} else ""
        )
        raise UserError(f"{where}: not a checkpoint of this project (format {FORMAT}){hint}")
