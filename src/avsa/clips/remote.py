"""Files of a clip store behind an address: S3, or whatever else fsspec reads, by ranges of bytes.

What is read is a whole block, kept in a `BlockCache` under a name that has the file's version in it. Every process has
connections of its own: those of a parent are left alone in forked workers.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from avsa.clips.address import Address
from avsa.clips.blocks import BlockCache
from avsa.errors import UserError

log = logging.getLogger(__name__)
R = TypeVar("R")

BLOCK = 4 << 20  # bytes that are fetched at once
ATTEMPTS = 7
WAIT_S = 0.5  # after the first failure, doubled after each, plus up to half of it at random: 31 ... 47 s altogether
DEADLINE_S = 120.0  # for one block

_CREDENTIALS = (PermissionError, "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
_FINAL = (ImportError, NotImplementedError, ValueError, "ParamValidationError", "InvalidRegionError")
_VERSION = ("md5", "ETag", "etag", "checksum", "LastModified", "last_modified", "mtime", "created")
_OPTIONS = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}  # trying again is done here alone
# By process and address. Those of a parent stay, or they would close its sockets.
_FILESYSTEMS: dict[tuple[int, str], tuple[Any, str]] = {}


class RemoteFiles:
    """A folder at an address, read through a cache. See `avsa.clips.files.Files`."""

    def __init__(self, address: str, cache: BlockCache) -> None:
        self.root = Address(address.rstrip("/"))
        self._cache, self._block = cache, BLOCK
        self._described: dict[str, tuple[int, str]] = {}

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `Files.read`; a connection that fails or stalls is tried again, in all for less than a minute and the
        deadlines of the requests."""
        size, version = self._describe(name)
        end, parts = min(offset + length, size), []
        if end <= offset:
            return b""
        for number in range(offset // self._block, -(-end // self._block)):
            start, stop = number * self._block, min((number + 1) * self._block, size)
            part = slice(max(offset, start) - start, min(end, stop) - start)
            fetch = partial(self._fetch, name, start, stop)
            parts.append(self._cache.read(f"{version}-{number}", stop - start, part, fetch))
        return b"".join(parts)

    def close(self) -> None:
        """Nothing: connections belong to the process."""

    def _describe(self, name: str) -> tuple[int, str]:
        """Size of a file, and a name for what it holds now."""
        if name not in self._described:
            info = self._patiently(name, lambda files, path: files.info(path))
            size = info.get("size")
            if size is None:
                size = self._patiently(name, _size)
            version = next((f"{key} {info[key]}" for key in _VERSION if info.get(key)), "")
            identity = f"{self.root / name} {size} {version} {self._block}"
            self._described[name] = int(size), hashlib.sha256(identity.encode()).hexdigest()[:32]
        return self._described[name]

    def _fetch(self, name: str, start: int, stop: int) -> bytes:
        def attempt(files: Any, path: str) -> bytes:
            if files.async_impl:
                from fsspec.asyn import sync

                payload: bytes = sync(files.loop, files._cat_file, path, start=start, end=stop, timeout=DEADLINE_S)
            else:
                payload = files.cat_file(path, start=start, end=stop)
            if len(payload) != stop - start:
                raise OSError(f"{len(payload)} of {stop - start} bytes came")
            return payload

        return self._patiently(name, attempt)

    def _patiently(self, name: str, attempt: Callable[[Any, str], R]) -> R:
        for number in range(1, ATTEMPTS + 1):
            try:
                files, folder = _filesystem(self.root)
                return attempt(files, f"{folder}/{name}")
            except FileNotFoundError as error:
                raise FileNotFoundError(2, "no such object or bucket", str(self.root / name)) from error
            except Exception as error:  # each file system has exceptions of its own
                if _is(error, _CREDENTIALS):
                    raise UserError(
                        f"{self.root / name}: {_reason(error)}: check the credentials (AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and their rights"
                    ) from None
                if _is(error, _FINAL):
                    raise UserError(f"{self.root / name}: {_reason(error)}: check store.address") from None
                if number == ATTEMPTS:
                    raise UserError(
                        f"{self.root / name}: {_reason(error)}: given up after {ATTEMPTS} attempts; check the network, "
                        "store.address and AWS_ENDPOINT_URL"
                    ) from None
                wait_s = WAIT_S * 2 ** (number - 1) * random.uniform(1, 1.5)
                log.warning("%s: %s: again in %.1f s", self.root / name, _reason(error), wait_s)
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")


def _filesystem(address: Address) -> tuple[Any, str]:
    """This process's file system for an address, and the address within it."""
    key = (os.getpid(), str(address))
    if key not in _FILESYSTEMS:
        from fsspec.core import url_to_fs

        options = _OPTIONS.get(address.split("://")[0], {})
        files, path = url_to_fs(str(address), skip_instance_cache=True, use_listings_cache=False, **options)
        if hasattr(files, "retries"):
            files.retries = 1
        _FILESYSTEMS[key] = files, path
    return _FILESYSTEMS[key]


def _size(files: Any, path: str) -> int:
    with files.open(path) as file:
        return int(file.size)


def _is(error: Exception, kinds: tuple[type[Exception] | str, ...]) -> bool:
    """Whether it is of one of the types; a name stands for a type of a library that need not be there."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in kinds)


def _reason(error: Exception) -> str:
    """One line."""
    silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return " ".join(str(error).split()) or silent
