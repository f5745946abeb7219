"""Segmentation networks by name: one of torchvision's, a TorchScript file, or what a function of the user's returns.

Shapes: N views, C classes, h×w pixels; the views have 3 channels (R, G, B).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsa import named
from avsa.errors import UserError

IGNORE = 255
"""The class id of pixels without a class."""

# ImageNet's, which torchvision's networks were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Segmenter:
    """A network and what its channels mean."""

    name: str
    identity: str  # changes with the network, as far as it can be known
    classes: dict[str, list[str]]  # "things", then "stuff", in the order of the channels
    network: nn.Module

    def confidences(self, views_N3hw: Tensor) -> Tensor:
        """Softmax over the classes, N×C at the network's own resolution, of uint8 views on the network's device.

        Raises:
            UserError: the network's output is not one map of logits per class.
        """
        mean, std = (views_N3hw.new_tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (MEAN, STD))
        logits = self.network((views_N3hw.float() / 255 - mean) / std)
        if isinstance(logits, Mapping):  # torchvision's networks
            logits = logits.get("out")
        expected = (len(views_N3hw), sum(map(len, self.classes.values())))
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[:2] != expected:
            gives = "×".join(map(str, logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"the model {self.name} gives {gives} for {expected[0]} views: logits of "
                f"{expected[0]}×{expected[1]}×height×width are expected, as it has {expected[1]} classes"
            )
        return logits.float().softmax(1)


def load_segmenter(name: str) -> Segmenter:
    """The network of a name, on the CPU, in evaluation mode.

    Args:
        name: - a semantic segmentation network of torchvision, such as ``deeplabv3_resnet50``, with its own weights;
              - a TorchScript file, with ``classes.json`` in the same folder. Nothing is unpickled;
              - ``package.module:function`` or ``package.module:function:argument``; the function (called with the
                argument's text) returns a module with the attribute ``classes``. Modules are looked for in the current
                folder too.

            Classes are ``{"things": [...], "stuff": [...]}``: names in the order of the output's channels.

    Raises:
        UserError: no such network, weights that cannot be downloaded, a damaged file, no or wrong classes.
    """
    from torchvision import models

    known = models.list_models(module=models.segmentation)
    if Path(name).is_file():
        segmenter = _from_file(Path(name))
    elif name in known:
        segmenter = _from_torchvision(name)
    elif parts := named.parse(name):
        segmenter = _from_function(parts)
    else:
        raise UserError(
            f"segment.model {name}: no such file, nor a network of torchvision ({', '.join(known)}), "
            "nor package.module:function"
        )
    segmenter.network.eval()
    return segmenter


def _from_torchvision(name: str) -> Segmenter:
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    names = list(weights.meta["categories"])
    network = models.get_model(name, weights=None, weights_backbone=None, num_classes=len(names))
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        trained = {key: tensor for key, tensor in state.items() if not key.startswith("aux_classifier.")}
        network.load_state_dict(trained)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"the weights of {name} cannot be had: {str(error).partition(chr(10))[0][:120]}; "
            f"put an intact copy of {weights.url} into {folder}"
        ) from None
    return Segmenter(name, str(weights), {"things": names, "stuff": []}, network)


def _from_file(path: Path) -> Segmenter:
    classes_path = path.with_name("classes.json")
    try:
        content = json.loads(classes_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no classes.json beside it, which names the model's classes") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{classes_path} cannot be read: {error}") from None
    classes = _classes(content, str(classes_path))
    with warnings.catch_warnings():
        # The newer torch.export evaluates and unpickles what is in its files; TorchScript only reads them.
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
        try:
            network = torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{path} is not an intact TorchScript file: write it with torch.jit.trace(model, views).save(path); "
                f"{str(error).partition(chr(10))[0][:80]}"
            ) from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Segmenter(str(path), f"{path.name} sha256:{digest}", classes, network)


def _from_function(parts: named.Named) -> Segmenter:
    name, network = str(parts), named.call(parts)
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} returned {type(network).__name__}: a torch.nn.Module is expected")
    return Segmenter(
        name, name, _classes(getattr(network, "classes", None), f"the attribute classes of {name}"), network
    )


def _classes(content: Any, where: str) -> dict[str, list[str]]:
    kinds = ("things", "stuff")
    if isinstance(content, Mapping) and set(content) == set(kinds):
        classes = {kind: list(content[kind]) for kind in kinds if isinstance(content[kind], list | tuple)}
        names = [name for kind in classes.values() for name in kind]
        if len(classes) == 2 and all(isinstance(name, str) for name in names) and 0 < len(names) <= IGNORE:
            return classes
    raise UserError(f'{where} must be {{"things": [names], "stuff": [names]}}, 1 … {IGNORE} in all')
