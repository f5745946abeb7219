"""Mean and variance of a stream, taken in parts that may be merged, kept and taken up again.

Shapes: X any leading axis, C feature channels, T frames, M mel bins.
"""

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Doubles = npt.NDArray[np.float64]


def _zero() -> Doubles:
    return np.zeros(())


@dataclass(frozen=True)
class Moments:
    """Count, mean and Σ (x − mean)² of values so far, in double precision: exact to rounding in one pass."""

    count: int = 0
    mean_CM: Doubles = field(default_factory=_zero)
    squares_CM: Doubles = field(default_factory=_zero)

    @classmethod
    def of(cls, features_XCTM: Tensor) -> Self:
        """Those of one part of the stream, by two passes over it."""
        part = features_XCTM.to(torch.float64)
        count = part.shape[0] * part.shape[2]
        variance_CM, mean_CM = torch.var_mean(part, dim=(0, 2), correction=0)
        return cls(count, mean_CM.numpy(), variance_CM.numpy() * count)

    def merged(self, part: Self) -> Self:
        """Those of both streams together.

        T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979, equations 2.1.
        """
        total = self.count + part.count
        delta_CM = part.mean_CM - self.mean_CM
        mean_CM = self.mean_CM + delta_CM * (part.count / total)
        squares_CM = self.squares_CM + part.squares_CM + delta_CM**2 * (self.count * part.count / total)
        return type(self)(total, mean_CM, squares_CM)

    def deviation(self) -> Doubles:
        """The population's standard deviation (C, M)."""
        deviation_CM: Doubles = np.sqrt(self.squares_CM / self.count)
        return deviation_CM


class Kept:
    """The moments of an unfinished measurement, in a hidden file beside its output.

    Args:
        key: names all that the moments depend on; what was kept under another key is not taken up.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.path, self.key = out.with_name(f".{out.name}.partial"), key

    def load(self) -> tuple[int, Moments]:
        """Parts that are in the moments, and these; none where nothing fitting and whole is there."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                if str(arrays["key"]) == self.key:
                    moments = Moments(int(arrays["count"]), arrays["mean_CM"], arrays["squares_CM"])
                    return int(arrays["parts"]), moments
        except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
            pass  # a damaged file costs the time of measuring again, no more
        return 0, Moments()

    def save(self, parts: int, moments: Moments) -> None:
        """Replace what was kept; a kill at any moment leaves the old or the new.

        Raises:
            OSError: the place is not writable.
        """
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(file, key=self.key, parts=parts, **vars(moments))
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """The measurement is finished."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)
