"""Numbers in words."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """`3.5 s`, `4 min 10 s`, `12.3 h`."""
    if seconds < 60:
        return f"{seconds:.4g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {round(seconds % 60):d} s"
    return f"{seconds / 3600:,.1f} h"


def size(count: float) -> str:
    """Bytes: `15 MB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def number(value: float) -> str:
    """With as many digits as tell something: `-18.8`, `0.476`, `1,200`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}".replace("-", "−")


def spread(values: Sequence[float], unit: str = "") -> str:
    """`3 s` where all are the same, else `from 1 to 10 s`."""
    low, high = min(values), max(values)
    text = number(low) if low == high else f"from {number(low)} to {number(high)}"
    return f"{text} {unit}".rstrip()


def plural(count: int, noun: str) -> str:
    """`1 clip`, `1,200 clips`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
