"""Where studies are kept: SQLite, a journal file on a shared disk, or PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from avsa.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SQLITE, JOURNAL = "sqlite:///", "journal:"
FORMS = f"{SQLITE}FILE, {JOURNAL}FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
CONNECT_S = 10
LOCK = 0x61767361  # PostgreSQL's advisory lock while tables are made: two who make them at once fail


def folder(study: str) -> Path:
    """Where a study's files lie: its database, its trials, its report."""
    return Path("runs/sweep") / study


def default_url(study: str) -> str:
    """SQLite beside the study's other files."""
    return f"{SQLITE}{folder(study) / 'study.db'}"


def public(url: str) -> str:
    """The address without its password."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def local_file(url: str) -> Path | None:
    """The file behind an address, if it is one."""
    for start in (SQLITE, JOURNAL):
        if url.startswith(start):
            return Path(url.removeprefix(start))
    return None


def open_storage(url: str, create: bool = True) -> BaseStorage:
    """Connect to a storage.

    Raises:
        UserError: no such form of address, not reachable, something else there; with ``create`` false, no such file.
    """
    path = local_file(url)
    if (path is None and not url.startswith("postgresql")) or path == Path():
        raise UserError(f"--storage {public(url)}: give {FORMS}")
    if path is not None and not create and not path.exists():
        raise UserError(f"{path}: no such study file: name the study, or give --storage")
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(url, path)
    except Exception as error:  # of the driver that the address names
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        text = reason[0] if reason else type(error).__name__
        if "table schema" in text:  # by Alembic's table of versions, which MLflow has too
            text = "its tables are of MLflow, or of another version of Optuna: give studies a database of their own"
        raise UserError(
            f"{public(url)}: the study's storage cannot be used: {text.replace(url, public(url))}"
        ) from None


def _connect(url: str, path: Path | None) -> BaseStorage:
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy import NullPool, create_engine, event, text

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if path is not None and url.startswith(JOURNAL):
        with path.open("ab+") as file:
            file.seek(0)
            if file.read(1) not in (b"", b"{"):
                raise ValueError("not a journal of studies")
        return JournalStorage(JournalFileBackend(str(path)))
    if path is not None:
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        event.listen(storage.engine, "connect", _write_ahead)
        storage.engine.dispose()  # connections from here on are the listener's
        return storage
    url = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    engine: dict[str, Any] = {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True}
    with create_engine(url, **engine, poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})  # until it is closed
        return RDBStorage(url, engine_kwargs=engine)


def _write_ahead(connection: Any, record: object) -> None:
    """SQLite that waits for the disk now and then, not at every entry, and that others may read meanwhile."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """A storage that goes away meanwhile is a line for the user.

    Raises:
        UserError: it went away.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{public(url)}: the study's storage went away: {reason}; once it is back, the same command goes on"
        ) from error


def hold_alone(url: str) -> IO[str] | None:
    """SQLite serves one process: hold its lock until the file that is returned is closed.

    Raises:
        UserError: another process holds it.
    """
    if not url.startswith(SQLITE):
        return None
    path = Path(url.removeprefix(SQLITE))
    lock = path.with_name(f".{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(
            f"{path}: another process runs this study, and SQLite is for one: give --workers to that one, or begin the "
            f"study with --storage {JOURNAL}FILE or postgresql://..."
        ) from None
    return lock


def file_hash(url: str) -> str:
    """SHA-256 of the file behind an address, with all that was written; empty where there is none."""
    path = local_file(url)
    if path is not None and path.exists() and url.startswith(SQLITE):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.exists() else ""
