"""Objects by name: the parts of a name, where modules are found, what the function gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from avsa import named
from avsa.errors import UserError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("own:net", ("own", "net", "")),
        ("own.nets:net:/some where/weights: v2.pth", ("own.nets", "net", "/some where/weights: v2.pth")),
    ],
)
def test_a_name_is_taken_apart_and_put_together(name: str, parts: tuple[str, str, str]) -> None:
    found = named.parse(name)
    assert found == parts
    assert str(found) == name


@pytest.mark.parametrize("name", ["own", "own:", "own:net:", "own net:net", ":net", "1own:net", "own:net.more"])
def test_other_forms_are_no_names(name: str) -> None:
    assert named.parse(name) is None


def test_functions_of_the_current_folder_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_things.py").write_text("SIZE = 7\ndef given(*arguments):\n    return arguments\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert named.call(named.Named("named_things", "given", "")) == ()
    assert named.call(named.Named("named_things", "given", "a text")) == ("a text",)
    assert sys.path.count(str(tmp_path)) == 1
    with pytest.raises(UserError, match=r"^named_things:SIZE:x: named_things has no function 'SIZE'$"):
        named.call(named.Named("named_things", "SIZE", "x"))
    with pytest.raises(UserError, match=r"^no_such.one:f: no module 'no_such' here or among the installed ones$"):
        named.call(named.Named("no_such.one", "f", ""))
