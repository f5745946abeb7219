"""What DVC knows of a store: the content that was recorded, and the command, inputs and values it was made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Origin:
    """A record of DVC's.

    Attributes:
        file: where it stands.
        command: what made the data; empty for data that were only added.
        digest: DVC's hash of the content.
        inputs: hashes by path.
        values: the section `clips` of the configuration at that time.
        fits: whether the folder has the size and number of files that were recorded; None where they were not.
    """

    file: Path
    command: str
    digest: str
    inputs: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    fits: bool | None = None


def find_origin(store: Path) -> Origin | None:
    """The record of a folder in a ``.dvc`` file beside it or in a ``dvc.lock`` above it; None where there is none."""
    store = store.resolve()
    beside = store.with_name(f"{store.name}.dvc")
    for out in _read(beside).get("outs", []):
        if isinstance(out, dict) and out.get("path") == store.name:
            return Origin(beside, "", str(out.get("md5", "")), fits=_fits(store, out))
    for folder in store.parents:
        for stage in _read(folder / "dvc.lock").get("stages", {}).values():
            for out in stage.get("outs", []):
                if (folder / str(out.get("path"))).resolve() == store:
                    inputs = {str(item.get("path")): str(item.get("md5", "")) for item in stage.get("deps", [])}
                    values = {name: value for part in stage.get("params", {}).values() for name, value in part.items()}
                    digest = str(out.get("md5", ""))
                    return Origin(
                        folder / "dvc.lock",
                        str(stage.get("cmd", "")),
                        digest,
                        inputs,
                        values.get("clips", {}),
                        _fits(store, out),
                    )
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # no record is no mistake of the store's
    return content if isinstance(content, dict) else {}


def _fits(store: Path, out: dict[str, Any]) -> bool | None:
    if "size" not in out:
        return None
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    return (sum(sizes), len(sizes)) == (out["size"], out.get("nfiles", len(sizes)))
