"""Where a remote clip store lies."""

from __future__ import annotations


class Address(str):
    """A folder or file of a remote store; `/` goes into it as with a path."""

    __slots__ = ()

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self}/{name}")
