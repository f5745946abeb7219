"""All ranks' rows on every rank, with gradients.

Each rank takes the mean loss of its own queries against the keys of all. The backward pass sums, over the ranks, the
gradients that reach a key, so that after the averaging that DistributedDataParallel does anyway, loss and gradients are
those of one process with the concatenated batch. Nothing has to be rescaled. Ranks must hold equally many rows.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside distributed training."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(rows: Tensor) -> Tensor:
    """(N, …) on each of R ranks -> (R·N, …) on all, in the order of the ranks; unchanged outside distributed runs."""
    if world()[1] == 1:
        return rows
    return _GatherRows.apply(rows.contiguous())  # type: ignore[no-any-return, no-untyped-call]
