"""What a decoding worker hands to the device: whole panoramas, sound, and all that is random about their views.

Shapes: N rows (clips × moments, a clip's moments side by side), K crops, T frames, H×W luma and h×w = H/2 × W/2 chroma
pixels, C = 4 FOA channels, S samples.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

LARGE = ("y_NTHW", "uv_NT2hw", "foa_NCS")


@dataclass(frozen=True)
class Batch:
    """Rows of one step. Angles in radians; conventions of `avsa.geometry.crops.perspective_batch`."""

    y_NTHW: Tensor  # uint8
    uv_NT2hw: Tensor  # uint8
    rgb_N34: Tensor  # (R, G, B) in [0, 1] = rgb_N34 · (Y', Cb, Cr, 1)
    foa_NCS: Tensor  # float32, full scale = 1, about the same centre in time as the frames
    azimuth_NK: Tensor
    elevation_NK: Tensor
    fov_NK: Tensor
    aspect_NK: Tensor
    mirror_NK: Tensor  # bool: flip the crop left-right, and its sound with it
    jitter_NK4: Tensor  # factors of brightness, contrast, saturation; shift of the hue in turns
    gain_N: Tensor  # of the sound
    clip_N: Tensor  # int64: index in the store
    source_N: Tensor  # int64: which recording; clips cut from one share it
    moment_N: Tensor  # int64: 0 ... moments − 1
    ids: list[str]  # of the clips, one per row

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        tensors = {f.name: change(getattr(self, f.name)) for f in fields(self) if f.name != "ids"}
        return type(self)(**tensors, ids=self.ids)

    def to(self, device: torch.device | str) -> Self:
        """The same batch on the device; from pinned memory the copy runs beside the computation."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes a small tensor's handle costs more than its bytes.
        small = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*LARGE, "ids")}
        arrays = {name: tensor.numpy() for name, tensor in small.items()}
        return _rebuild, (type(self), [getattr(self, name) for name in LARGE], arrays, self.ids)

    @staticmethod
    def concatenate(parts: "list[Batch]") -> "Batch":
        """The rows of all parts in one batch."""
        names = [f.name for f in fields(Batch) if f.name != "ids"]
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return Batch(**tensors, ids=[id_ for part in parts for id_ in part.ids])


def _rebuild(kind: type[Batch], large: list[Tensor], small: dict[str, Any], ids: list[str]) -> Batch:
    tensors = {name: torch.from_numpy(array) for name, array in small.items()}
    return kind(**dict(zip(LARGE, large, strict=True)), **tensors, ids=ids)
