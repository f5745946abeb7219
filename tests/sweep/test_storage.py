"""Storages: the three kinds, and a line for each that cannot be used."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sweep_toy import IDENTITY, toy_plan

from avsa.errors import UserError
from avsa.sweep.space import Space
from avsa.sweep.storage import file_hash, hold_alone, open_storage, public, reachable
from avsa.sweep.studies import load_studies, open_studies


def test_passwords_are_not_shown() -> None:
    assert public("postgresql://me:secret@host:5432/db") == "postgresql://me:***@host:5432/db"
    assert public("sqlite:///a/b.db") == "sqlite:///a/b.db"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (
            "mysql://me:secret@host/db",
            "--storage mysql://me:***@host/db: give sqlite:///FILE, journal:FILE or postgresql:",
        ),
        (
            "postgresql://me:secret@127.0.0.1:1/db",
            "postgresql://me:***@127.0.0.1:1/db: the study's storage cannot be used: ",
        ),
        (
            "sqlite:///{folder}/text",
            "sqlite:///{folder}/text: the study's storage cannot be used: file is not a database",
        ),
        (
            "journal:{folder}/text",
            "journal:{folder}/text: the study's storage cannot be used: not a journal of studies",
        ),
        (
            "sqlite:///{folder}/other.db",
            "sqlite:///{folder}/other.db: the study's storage cannot be used: its tables are of MLflow, or of ",
        ),
        ("sqlite:///", "--storage sqlite:///: give sqlite:///FILE, journal:FILE or postgresql:"),
        ("journal:", "--storage journal:: give sqlite:///FILE, journal:FILE or postgresql:"),
    ],
)
def test_unusable(url: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("something else entirely, and long enough to be looked at as a database")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:  # as MLflow's
        other.executescript("CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('a1b2')")
    with pytest.raises(UserError) as error:
        open_storage(url.format(folder=tmp_path))
    text = str(error.value)
    assert text.startswith(line.format(folder=tmp_path))
    assert "secret" not in text
    assert "\n" not in text


def test_looking_at_a_study_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.db: no such study file: name the study, or give --storage$"):
        open_storage(f"sqlite:///{tmp_path}/x.db", create=False)
    assert not list(tmp_path.iterdir())


def test_sqlite_is_for_one_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    lock = hold_alone(url)
    assert lock is not None
    with lock, pytest.raises(UserError, match=r"another process runs this study, and SQLite is for one: give --work"):
        hold_alone(url)
    assert hold_alone(f"journal:{tmp_path}/x.log") is None


def test_the_hash_of_a_database_covers_what_was_written_last(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    study = optuna.create_study(storage=open_storage(url), study_name="x")
    before = file_hash(url)
    study.set_user_attr("last", "word")
    assert file_hash(url) != before
    content = (tmp_path / "x.db").read_bytes()
    assert file_hash(url) == hashlib.sha256(content).hexdigest()
    assert b"word" in content
    assert file_hash("postgresql://host/db") == ""


def test_a_storage_that_goes_away_is_a_line() -> None:
    from sqlalchemy.exc import OperationalError

    line = r"^postgresql://h/db: the study's storage went away: gone; once it is back"
    with pytest.raises(UserError, match=line), reachable("postgresql://h/db"):
        raise OperationalError("SELECT 1", {}, Exception("gone\nand more"))


@pytest.mark.parametrize("what", ["space", "configuration", "data"])
def test_a_study_of_something_else(what: str, tmp_path: Path) -> None:
    plan, url = toy_plan(), f"journal:{tmp_path}/x.log"
    paper = Space(plan.space, "toy").paper
    open_studies(plan, paper, open_storage(url), IDENTITY, {}, url)
    open_studies(toy_plan(trials=50), paper, open_storage(url), IDENTITY, {}, url)  # more trials are the same study
    other: dict[str, Any] = {**IDENTITY, what: "another"}
    with pytest.raises(UserError, match=f"study toy was begun with another {what}: give --study another name"):
        open_studies(plan, paper, open_storage(url), other, {}, url)


def test_studies_that_are_not_a_sweeps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    storage = open_storage(url)
    optuna.create_study(storage=storage, study_name="other")
    with pytest.raises(UserError, match=r"no study 'toy': it holds other$"):
        load_studies("toy", storage, url)
    with pytest.raises(UserError, match="study other was not made by a sweep"):
        load_studies("other", storage, url)
