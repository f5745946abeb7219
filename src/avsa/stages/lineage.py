"""The verbs ``lineage`` and ``doctor``: what the records of a project say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from avsa.errors import UserError
from avsa.resolve import Resolved
from avsa.tracking.lineage import Lineage, changed
from avsa.tracking.records import Records
from avsa.tracking.restored import record_restored
from avsa.tracking.stale import mark_dead, send_what_waits
from avsa.tracking.store import SQLITE, Store, open_store, tracking_uri
from avsa.tracking.tree import tree


def run_lineage(resolved: Resolved, target: str, as_json: bool, history: bool) -> Iterator[str]:
    """The chains of a file, hash, run or registered model, as lines of text or of JSON.

    Raises:
        UserError: not in a DVC project, nothing of that name.
    """
    from dvc.repo import Repo

    root = project_root()
    store = _store(resolved)
    if store:
        record_restored(root, store.client, store.experiment_id)
    with Repo(str(root)) as repo:
        found = Lineage(root, repo, Records(store.client) if store else None, history).of(target)
        if as_json:
            yield json.dumps(found, indent=1, ensure_ascii=False)
            return
        for node in found:
            yield from tree(node)
            if changed(root, (node["path"], node["hash"])):
                yield f"   {node['path']} in the workspace is not this one: it was changed since, or is another version"


def run_doctor_runs(resolved: Resolved, silent_s: float) -> Iterator[str]:
    """Send what waits for the tracking store, mark runs that nobody ended, record what DVC restored; a line each.

    Raises:
        UserError: the tracking store cannot be used.
    """
    store = open_store(resolved.config.tracking)
    yield from send_what_waits(store, resolved.config.tracking.wait_s, silent_s)
    yield from mark_dead(store, silent_s)
    if (Path.cwd() / ".dvc").is_dir():
        for stage in record_restored(Path.cwd(), store.client, store.experiment_id):
            yield f"{stage}: restored by DVC from its cache; a run that points to its maker was added"


def project_root() -> Path:
    """The DVC project around the current folder.

    Raises:
        UserError: there is none.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise UserError(f"{Path.cwd()} is in no DVC project: lineage is read from dvc.lock")


def _store(resolved: Resolved) -> Store | None:
    """The tracking store; None where there is none yet, or, with a line, where it is away: dvc.lock and run files say
    much without it."""
    uri = tracking_uri(resolved.config.tracking.uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return None
    try:
        return open_store(resolved.config.tracking)
    except UserError as error:
        print(f"warning: {error}; shown is what dvc.lock and the outputs themselves say", file=sys.stderr)
        return None
