"""Objects of a user's own code by name: ``package.module:function`` or ``package.module:function:argument``."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from avsa.errors import UserError

_NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?::(.+))?")


class Named(NamedTuple):
    """A name's parts; the argument is empty where there is none."""

    module: str
    function: str
    argument: str

    def __str__(self) -> str:
        return ":".join(filter(None, self))


def parse(name: str) -> Named | None:
    """The parts of a name; None if it is of another form."""
    match = _NAME.fullmatch(name)
    return Named(match[1], match[2], match[3] or "") if match else None


def call(named: Named) -> Any:
    """What the function returns; it is called with the argument's text, or with nothing.

    Modules are looked for in the current folder too.

    Raises:
        UserError: no such module or function, or one that takes other arguments.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(named.module)
    except ModuleNotFoundError as error:
        raise UserError(f"{named}: no module {error.name!r} here or among the installed ones") from None
    function = getattr(module, named.function, None)
    if not callable(function):
        raise UserError(f"{named}: {named.module} has no function {named.function!r}")
    arguments = [named.argument] if named.argument else []
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError) as error:  # a built-in one shows no signature
        raise UserError(f"{named}: it cannot be called with {len(arguments)} arguments: {error}") from None
    return function(*arguments)
