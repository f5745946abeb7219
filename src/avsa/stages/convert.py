"""The verb ``convert``: published files into ours, and checkpoints back."""

from __future__ import annotations

from pathlib import Path

from avsa.errors import UserError


def run_convert(source: Path, target: Path) -> str:
    """Write the other form of ``source``; a line that says what it was.

    Raises:
        UserError: neither form, damaged, a tensor too many, missing or of another shape; the target cannot be written
            or is the source.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: would be overwritten by its other form: name another file")
    if source.suffix == ".npz":
        from avsa.data.released import released_statistics

        released_statistics(source).save(target)
        return f"{source}: published statistics, now {target}"
    from avsa.models.convert import convert

    return f"{source}: {convert(source, target)} checkpoint, now {target}"
