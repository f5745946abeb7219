"""Python, the installed packages against the lock file, PyAV's codecs."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from avsa.doctor.check import OK, PROBLEM, WARNING, Finding

ENCODERS = ("libx264", "aac", "flac")  # of the clip store, and of synth360
DECODERS = ("h264", "vp9", "hevc", "aac", "opus", "vorbis", "flac")  # of the recordings that people have
SHOWN = 3


def versions(lock: Path) -> Iterator[Finding]:
    """Whether this is the environment that the project is tested with."""
    yield _python()
    yield _packages(lock)
    yield _codecs()


def _python() -> Finding:
    wanted = metadata.metadata("avsa")["Requires-Python"]
    if platform.python_version() in SpecifierSet(wanted):
        return Finding(OK, f"Python {platform.python_version()}")
    return Finding(PROBLEM, f"Python {platform.python_version()}: avsa needs {wanted}", "make PYTHON=python3.11")


def _packages(lock: Path) -> Finding:
    """A package of avsa's own that is missing stops a stage; any other difference only shows in results, perhaps."""
    wanted = locked(lock)
    if not wanted:
        return Finding(
            WARNING, f"{lock} is not there: nothing says which versions are meant", "git checkout " + lock.name
        )
    installed = {name: _installed(name) for name in wanted}
    own = {_plain(need.name) for need in map(Requirement, metadata.requires("avsa") or []) if need.marker is None}
    missing = sorted(name for name in own if not installed.get(name, _installed(name)))
    mend = f"uv pip sync {lock.name} && uv pip install --no-deps -e ., or make"
    if missing:
        return Finding(PROBLEM, f"not installed: {_some(missing)}", mend)
    other = [f"{name} {installed[name]}, not {version}" for name, version in wanted.items() if _differs(name, version)]
    if other:
        return Finding(WARNING, f"{len(other)} of {len(wanted)} packages are not {lock.name}'s: {_some(other)}", mend)
    return Finding(OK, f"{sum(map(bool, installed.values()))} packages as in {lock.name}")


def _differs(name: str, version: str) -> bool:
    found = _installed(name)
    return bool(found) and found.partition("+")[0] != version.partition("+")[0]  # +cpu, +cu128: another build of it


def _codecs() -> Finding:
    import av

    lost = [name for name, mode in [(n, "w") for n in ENCODERS] + [(n, "r") for n in DECODERS] if not _has(name, mode)]
    library = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    if lost:
        mend = "install PyAV's own wheel, which carries FFmpeg: pip install --force-reinstall --only-binary :all: av"
        return Finding(PROBLEM, f"{library} has no codec {', '.join(lost)}", mend)
    return Finding(OK, f"{library}, with all codecs")


def _has(codec: str, mode: str) -> bool:
    import av

    try:
        av.Codec(codec, "w" if mode == "w" else "r")
    except ValueError:
        return False
    return True


def locked(lock: Path) -> dict[str, str]:
    """Package -> version of a lock file, of the packages that this machine needs; empty without the file."""
    if not lock.exists():
        return {}
    lines = (line.split(" \\")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    needs = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {
        _plain(need.name): next(iter(need.specifier)).version
        for need in needs
        if need.specifier and (need.marker is None or need.marker.evaluate())
    }


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _some(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
