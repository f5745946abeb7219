"""Published checkpoints into ours and back: the same tensors under other names.

Published files are dictionaries of ``torch.save``. ``kind`` says which of them, and the table `LAYOUTS` where each
keeps our parts:

- ``avsa`` and ``instdisc``, of pre-training: ``epoch``, ``model``, ``train_criterion`` (names start with
  ``losses.0.``). ``instdisc`` has two projections and no translators.
- ``binary``, ``action`` and ``segmentation``, of evaluation: ``epoch``, ``state_dict`` with the encoders that were used
  and a head (``classifier.*``, ``fpn.*``); ``binary`` has the translators, if any, in ``criterion``.

Names in ``model`` and ``state_dict`` may all start with ``module.``, as training on several GPUs leaves them. State of
optimisers and schedules is left behind. A head becomes the entry ``head`` of our file, its names those of
:class:`BinaryHead`, :class:`ActionHead` or :class:`FPNHead`; what a file lacks is ``untrained`` in ours
(:mod:`avsa.models.checkpoint`). The way back gives every tensor, name and the epoch as they were; networks that were
trained here become ``avsa`` files.

How many heads an attention has cannot be seen in its tensors: one is assumed, as in all published configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from avsa.errors import UserError
from avsa.models.checkpoint import read_checkpoint, refuse_untrained, save_network, unpack, write_checkpoint
from avsa.models.fpn import IN_GROUP, FPNHead
from avsa.models.heads import ActionHead, BinaryHead
from avsa.models.network import AVSANetwork, NetworkSpec, build_network, mismatches

ENCODERS = ("video_model", "audio_model")
TRANSLATORS = ("v2a_transformer", "a2v_transformer")
HEADS = ("video_head", "audio_head", "video_pred_head", "audio_pred_head")
PARTS = ENCODERS + TRANSLATORS + HEADS
_HEAD = "head."


@dataclass(frozen=True)
class Layout:
    """One kind of published file.

    Attributes:
        names: (entry, what names start with there) -> what ours start with.
        needs: the parts that every such file holds.
    """

    names: dict[tuple[str, str], str]
    needs: tuple[str, ...]


def _alike(entry: str, prefix: str, parts: tuple[str, ...]) -> dict[tuple[str, str], str]:
    return {(entry, f"{prefix}{part}."): f"{part}." for part in parts}


_PROJECTIONS = {
    ("train_criterion", "losses.0.video_projection."): "video_head.",
    ("train_criterion", "losses.0.audio_projection."): "audio_head.",
}
LAYOUTS = {
    "avsa": Layout(
        _alike("model", "", ENCODERS) | _alike("train_criterion", "losses.0.", TRANSLATORS + HEADS), needs=PARTS
    ),
    "instdisc": Layout(_alike("model", "", ENCODERS) | _PROJECTIONS, needs=(*ENCODERS, "video_head", "audio_head")),
    "binary": Layout(
        {
            ("state_dict", "video_feat."): "video_model.",
            ("state_dict", "audio_feat."): "audio_model.",
            ("state_dict", "classifier."): f"{_HEAD}classifier.",
            **_alike("criterion", "", TRANSLATORS + HEADS),
        },
        needs=ENCODERS,
    ),
    "action": Layout(
        {
            ("state_dict", "feature_extractor."): "video_model.",
            ("state_dict", "classifier."): f"{_HEAD}classifier.",
        },
        needs=("video_model",),
    ),
    "segmentation": Layout(
        {**_alike("state_dict", "", ENCODERS + TRANSLATORS), ("state_dict", "fpn."): _HEAD}, needs=("video_model",)
    ),
}


@dataclass(frozen=True)
class Published:
    """A published checkpoint in our form (:func:`avsa.models.checkpoint.save_network` takes the three)."""

    network: AVSANetwork
    provenance: dict[str, Any]
    head: dict[str, Tensor] | None


def convert(source: Path, target: Path) -> str:
    """Write the other form of a checkpoint: of a published one ours, of ours the published one.

    Returns:
        The kind of the published one, a key of `LAYOUTS`.

    Raises:
        UserError: neither of them, damaged, a tensor too many, missing or of another shape, or not to be written.
    """
    content = read_checkpoint(source)
    if "format" in content:
        network, provenance = unpack(content, str(source))
        write_checkpoint(target, to_published(Published(network, provenance, content.get("head")), str(source)))
        return _kind_of(provenance)
    published = from_published(content, str(source))
    save_network(target, published.network, {**published.provenance, "file": source.name}, published.head)
    return _kind_of(published.provenance)


def load(path: Path) -> AVSANetwork:
    """The network of either form of checkpoint, in evaluation mode; see :func:`avsa.load`."""
    content = read_checkpoint(path)
    if "format" in content:
        return unpack(content, str(path))[0].eval()
    published = from_published(content, str(path))
    refuse_untrained(published.network, published.provenance, str(path))
    return published.network.eval()


def load_head(path: Path) -> nn.Module:
    """The task's head in an evaluation checkpoint of either form, in evaluation mode; UserError if there is none."""
    content = read_checkpoint(path)
    if "format" in content:
        published = Published(*unpack(content, str(path)), content.get("head"))
    else:
        published = from_published(content, str(path))
    if published.head is None:
        raise UserError(f"{path} holds no head of a task: only checkpoints of evaluation do")
    head = _empty_head(published, str(path))
    head.load_state_dict(published.head)
    return head.eval()


def from_published(content: Mapping[str, Any], where: str) -> Published:
    """A published checkpoint's content in our form; `where` names it in messages. Raises UserError as `convert`."""
    kind = _recognise(content, where)
    layout, prefix = LAYOUTS[kind], ""
    state: dict[str, Tensor] = {}
    for entry in dict.fromkeys(entry for entry, _ in layout.names):
        tensors = content.get(entry, {})
        if not isinstance(tensors, dict) or not all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
        ):
            raise UserError(f"{where}: entry {entry} is no dictionary of tensors by name")
        if entry in ("model", "state_dict") and all(name.startswith("module.") for name in tensors):
            prefix = "module."
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        state |= {_our_name(layout, entry, name): tensor for name, tensor in tensors.items()}
    head = {name.removeprefix(_HEAD): state.pop(name) for name in list(state) if name.startswith(_HEAD)}
    held = {name.partition(".")[0] for name in state}
    untrained = [part for part in PARTS if part not in held and part not in layout.needs]
    network = build_network(_spec(state, where), seed=0)
    own = network.state_dict()
    state |= {name: own[name] for name in own if name.startswith(tuple(f"{part}." for part in untrained))}
    _match(own, state, f"{where}: published checkpoint ({kind})")
    network.load_state_dict(state)
    epoch = content.get("epoch", 0)
    provenance = {"published": kind, "epoch": epoch if isinstance(epoch, int) else 0, "prefix": prefix}
    published = Published(network, {**provenance, "untrained": untrained}, head or None)
    if head:
        _match(_empty_head(published, where).state_dict(), head, f"{where}: published head ({kind})")
    return published


def to_published(published: Published, where: str) -> dict[str, Any]:
    """The content of a published file; `where` names our checkpoint in messages.

    Raises:
        UserError: a network that the published code cannot express.
    """
    spec = published.network.spec
    if spec.translator == "transformer" and spec.translator_depth and spec.translator_heads != 1:
        raise UserError(
            f"{where}: its translators have {spec.translator_heads} attention heads, published ones have one: "
            "it has no such form"
        )
    if not spec.translator_final_relu:
        raise UserError(f"{where}: its translators end without the ReLU that published ones have: it has no such form")
    provenance = published.provenance
    untrained = tuple(f"{part}." for part in provenance.get("untrained", ()))
    state = {name: tensor for name, tensor in published.network.state_dict().items() if not name.startswith(untrained)}
    state |= {f"{_HEAD}{name}": tensor for name, tensor in (published.head or {}).items()}
    content: dict[str, Any] = {"epoch": provenance.get("epoch", 0)}
    for (entry, theirs), ours in LAYOUTS[_kind_of(provenance)].names.items():
        prefix = provenance.get("prefix", "module.") if entry in ("model", "state_dict") else ""
        renamed = {prefix + theirs + n.removeprefix(ours): tensor for n, tensor in state.items() if n.startswith(ours)}
        if renamed:
            content.setdefault(entry, {}).update(renamed)
    return content


def _kind_of(provenance: Mapping[str, Any]) -> str:
    return str(provenance.get("published", "avsa"))


def _recognise(content: Mapping[str, Any], where: str) -> str:
    criterion, evaluated = content.get("train_criterion"), content.get("state_dict")
    if isinstance(criterion, dict):
        return "instdisc" if any("_projection." in str(name) for name in criterion) else "avsa"
    if isinstance(evaluated, dict):
        names = [str(name).removeprefix("module.") for name in evaluated]
        for kind, mark in (("segmentation", "fpn."), ("binary", "classifier.0."), ("action", "classifier.")):
            if any(name.startswith(mark) for name in names):
                return kind
    entries = ", ".join(sorted(map(str, content))[:6]) or "nothing"
    raise UserError(f"{where}: neither a checkpoint of this project nor a published one: it holds {entries}")


def _our_name(layout: Layout, entry: str, name: str) -> str:
    for (of, theirs), ours in layout.names.items():
        if of == entry and name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return f"{entry}: {name}"  # which no part of ours is called: it is reported as unknown


def _spec(state: Mapping[str, Tensor], where: str) -> NetworkSpec:
    """The architecture that the tensors' names and shapes tell of."""

    def size(name: str, axis: int) -> int:
        if name not in state or state[name].dim() <= axis:
            raise UserError(f"{where}: published checkpoint without {name}")
        return state[name].shape[axis]

    defaults = NetworkSpec()
    width = size("video_model.conv1.0.weight", 0) / 64
    audio = any(name.startswith("audio_model.") for name in state)
    layers = sorted({tuple(name.split(".")[:3]) for name in state if name.startswith(TRANSLATORS)})
    mlp = any(name.startswith(TRANSLATORS) and ".dense1." in name for name in state)
    expansion = defaults.translator_expansion
    if layers:
        first = f"{'.'.join(layers[0])}.{'dense1' if mlp else 'dense'}.0.weight"
        expansion = max(1, size(first, 0) // max(1, size(first, 1)))
    return NetworkSpec(
        video_depth=18 if "video_model.conv2x.0.spt_conv1.weight" in state else 10,
        video_width=width,
        audio_width=size("audio_model.conv1.0.weight", 0) / 64 if audio else width,
        audio_channels=size("audio_model.conv1.0.weight", 1) if audio else defaults.audio_channels,
        translator="mlp" if mlp else "transformer" if layers else "none",
        translator_depth=len({layer[2] for layer in layers if len(layer) == 3}),
        translator_expansion=expansion,
        head_dim=size("video_head.projection.0.weight", 0) if any(n.startswith("video_head.") for n in state) else 128,
    )


def _match(own: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    faults = mismatches(own, state)
    if not faults:
        other = [name for name in own if state[name].dtype != own[name].dtype]
        faults = "; ".join(f"{name} holds {state[name].dtype}, expected {own[name].dtype}" for name in other[:3])
    if faults:
        raise UserError(f"{what}: {faults}")


def _empty_head(published: Published, where: str) -> nn.Module:
    """The head that belongs to the network, of the sizes that its tensors tell of."""
    network, head, kind = published.network, published.head or {}, _kind_of(published.provenance)

    def size(name: str, axis: int = 0) -> int:
        if name not in head or head[name].dim() <= axis:
            raise UserError(f"{where}: published head ({kind}) without {name}")
        return head[name].shape[axis]

    if kind == "binary":
        # With both kinds of pair along the features ("concat") each side is twice as wide.
        sides = 2 if size("classifier.0.weight", 1) == 2 * (network.video_dim + network.audio_dim) else 1
        return BinaryHead(sides * network.video_dim, sides * network.audio_dim, size("classifier.0.weight"))
    if kind == "action":
        return ActionHead(network.video_dim, size("classifier.weight"))
    return FPNHead(
        channels=[network.video_dim // part for part in (8, 4, 2, 1)],
        conditioning=max(0, size("lat_fpn_5.weight", 1) - network.video_dim),
        classes=size("predictor.weight"),
        dim=size("lat_fpn_2.weight"),
        branch=max(1, size("predictor.weight", 1) // IN_GROUP) * IN_GROUP,
    )
