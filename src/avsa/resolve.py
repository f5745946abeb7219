"""From files and ``--set`` to one checked configuration, with the origin of every value.

Later layers win: defaults in :mod:`avsa.config` < overlays < ``params.yaml`` < ``--set``. Overlays are what ``base:``
names, one or a list, of which the last wins; each may name a base of its own, which comes below it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from avsa.config import Config
from avsa.errors import UserError

PARAMS = Path("params.yaml")
DEFAULT = "default"
_SHOWN = 80  # characters of a refused value


@dataclass(frozen=True)
class Resolved:
    """A configuration and, for every dotted path that a file or the command line sets, where it was set."""

    config: Config
    origins: dict[str, str]

    def flat(self) -> dict[str, Any]:
        """Dotted path -> value, for every leaf."""
        return dict(_leaves(self.config.model_dump(mode="json")))

    def origin(self, path: str) -> str:
        """Where the value at ``path`` comes from: ``default``, a file, or ``--set``."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return DEFAULT


def resolve(params: Path | None = None, overrides: Sequence[str] = (), base: str | None = None) -> Resolved:
    """Read and merge all layers.

    Args:
        params: the file that chooses; by default ``params.yaml`` in the current folder, if there is one.
        overrides: ``a.b=value`` items; values are YAML.
        base: an overlay that replaces the one that ``params`` names.

    Raises:
        UserError: a file is missing or is not YAML; a key is unknown; a value is out of its range.
    """
    if params is None and not PARAMS.exists():
        chosen: dict[str, Any] = {}
        where = str(PARAMS)
    else:
        where = str(params or PARAMS)
        chosen = read_mapping(Path(where))
    command = _parse(overrides)
    first = base or command.get("base") or chosen.get("base") or ""
    layers = [*_overlays(first).items(), (where, chosen), ("--set", command)]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        origins.update({path: origin for path, _ in _leaves(layer)})
        merged = _merge(merged, layer)
    merged["base"] = first
    if base:
        origins["base"] = "--base"
    try:
        return Resolved(Config.model_validate(_merge(Config().model_dump(), merged)), origins)
    except ValidationError as error:
        raise UserError(_explain(error, origins)) from None


def overlay(under: Resolved, over: dict[str, Any], origin: str) -> Resolved:
    """``under`` with one more layer on top, which ``origin`` names.

    Raises:
        UserError: a key is unknown; a value is out of its range.
    """
    origins = {**under.origins, **{path: origin for path, _ in _leaves(over)}}
    try:
        return Resolved(Config.model_validate(_merge(under.config.model_dump(), over)), origins)
    except ValidationError as error:
        raise UserError(_explain(error, origins)) from None


def fingerprint(*parts: Any) -> str:
    """A short hash of configuration sections, file hashes and the like: what a result depends on."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def read_mapping(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file; empty for an empty file.

    Raises:
        UserError: no such file, or something else in it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    return content


def _overlays(base: Any, above: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Name -> content, from the lowest to the highest; one that several name is there once, below them all."""
    layers: dict[str, dict[str, Any]] = {}
    for name in map(str, filter(None, base if isinstance(base, list) else [base])):
        if name in above:
            raise UserError(f"{name}: overlays name each other as base: {' -> '.join([*above, name])}")
        layer = read_mapping(Path(name))
        for under, content in (*_overlays(layer.get("base"), (*above, name)).items(), (name, layer)):
            layers.setdefault(under, content)
    return layers


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for item in overrides:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise UserError(f"--set {item}: expected a.b=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {item}: the value is not valid YAML") from None
        for key in reversed(path.split(".")):
            value = {key: value}
        tree = _merge(tree, value)
    return tree


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, tree


def _explain(error: ValidationError, origins: dict[str, str]) -> str:
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")  # a misspelt key explains the rest
    path = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    origin = next(
        (origins[key] for key in origins if f"{path}.".startswith(f"{key}.") or key.startswith(f"{path}.")), ""
    )
    if first["type"] == "extra_forbidden":
        message = f"unknown key{_hint(first['loc'])}"
    elif first["type"] != "value_error":
        shown = repr(first["input"])
        message += f", got {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ": ".join(filter(None, (origin, path, message + more)))


def _hint(location: tuple[int | str, ...]) -> str:
    """What an unknown key may have meant: the same name in another section, or a near one of its own."""
    *parents, key = (str(part) for part in location)
    names = _field_names(location[:-1])
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    elsewhere = [path for path, _ in _leaves(Config().model_dump()) if path.endswith(f".{key}")]
    meant = elsewhere or [".".join([*parents, name]) for name in near]
    return f"; did you mean {' or '.join(map(repr, meant))}?" if meant else f"; known here: {', '.join(names)}"


def _field_names(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section at ``location``."""
    kind: Any = Config
    for part in location:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
    return list(kind.model_fields)
