"""DVC's remote: where results go with ``dvc push``, and come from with ``dvc pull``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avsa.doctor.check import OK, PROBLEM, WARNING, Finding, reason
from avsa.tracking.store import public

CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, with the right to read and write there"


def remote(root: Path) -> Iterator[Finding]:
    """Whether it is named, answers, and takes what is written."""
    from dvc.config import ConfigError
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            if not repo.config["core"].get("remote"):
                text = "none is set: data, checkpoints and results are on this machine only"
                yield Finding(WARNING, text, "dvc remote add -d NAME s3://BUCKET/FOLDER, then dvc push")
                return
            odb = repo.cloud.get_remote_odb()
            yield probe(odb.fs, odb.path, public(odb.fs.unstrip_protocol(odb.path)))
    except NotDvcRepoError:
        yield Finding(
            WARNING,
            f"{root} is in no DVC project: hashes of data are not recorded",
            "git clone the project, or dvc init",
        )
    except (ConfigError, DvcException) as error:
        yield Finding(PROBLEM, reason(error), "dvc remote list, dvc remote modify")


def probe(files: Any, folder: str, name: str) -> Finding:
    """Write a small file there, and remove it."""
    path = files.join(folder, f"avsa-doctor-{uuid.uuid4().hex[:12]}")
    reading = True
    try:
        files.exists(path)
        reading = False
        files.makedirs(folder)
        files.pipe_file(path, b"written by avsa doctor; it may be removed")
        files.remove(path)
    except Exception as error:  # each file system has exceptions of its own
        if not reading and isinstance(error, NotImplementedError):
            return Finding(WARNING, f"{name} can be read, not written: dvc pull works, dvc push does not")
        level = PROBLEM if reading else WARNING
        return Finding(level, f"{name} cannot be {'read' if reading else 'written'}: {reason(error)}", _mend(error))
    return Finding(OK, f"{name} can be read and written")


def _mend(error: Exception) -> str:
    text = str(error).lower()
    if "no such bucket" in text or "bucket does not exist" in text or isinstance(error, FileNotFoundError):
        return "make the bucket, or correct it: dvc remote modify NAME url s3://..."
    if isinstance(error, PermissionError) or "credential" in text or "forbidden" in text:
        return CREDENTIALS
    return "the network, and the endpoint: dvc remote modify NAME endpointurl URL, or AWS_ENDPOINT_URL"
