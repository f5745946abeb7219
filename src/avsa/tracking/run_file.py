"""The file beside a stage's output that says which run made it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from avsa.errors import UserError

RUN_FILE = "run.json"


class Recorded(Protocol):
    """A run, as far as a file names it."""

    @property
    def run_id(self) -> str: ...

    @property
    def uri(self) -> str: ...


def write_run_file(path: Path, run: Recorded) -> None:
    """Say beside a stage's output which run made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")  # several processes may continue a run
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
