"""Devices and process groups. Without a process group every function answers for one process: callers need no cases."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avsa.config import Engine
from avsa.engine.protocols import Task
from avsa.errors import UserError

R = TypeVar("R")


def setup(config: Engine, timeout_s: float = 1800) -> torch.device:
    """The device of this process. Joins the process group when torchrun started it; sets threads and determinism.

    On the CPU only deterministic algorithms are used: two runs are bit-equal. On a GPU the fastest are.

    Raises:
        UserError: no GPU where one is asked for, or fewer GPUs than processes on this machine.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("engine.device is cuda but PyTorch sees no GPU: set engine.device to auto or cpu")
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu and local_rank >= torch.cuda.device_count():
        gpus = torch.cuda.device_count()
        raise UserError(f"more processes than GPUs on this machine: start torchrun with --nproc-per-node {gpus}")
    if config.threads:
        torch.set_num_threads(config.threads)
    if on_gpu:
        torch.cuda.set_device(local_rank)
        torch.backends.cudnn.benchmark = True  # input sizes are constant
    else:
        torch.set_deterministic_debug_mode("error")  # deterministic algorithms, without importing the compiler
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # it costs a pass over every new tensor
    if "RANK" in os.environ and not dist.is_initialized():  # gloo beside nccl: rank 0's decisions travel on the CPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=timedelta(seconds=timeout_s))
    return torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")


def cleanup() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process among all."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and talks."""
    return rank() == 0


def maximum(*values: float) -> list[float]:
    """The elementwise maximum over ranks: how all ranks come to the same decision."""
    if world_size() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return list(tensor.tolist())


def mean(values: dict[str, float]) -> dict[str, float]:
    """The mean over ranks of each value; the keys are the same on all ranks, in the same order."""
    if world_size() == 1:
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(tensor)
    return dict(zip(values, (tensor / world_size()).tolist(), strict=True))


def collect(value: Any) -> list[Any]:
    """The value of every rank, in order of rank."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def on_main(work: Callable[[], R]) -> R:
    """Do the work on rank 0 and return its result, or raise its UserError, on every rank."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise UserError(outcome[1])
    result: R = outcome[0]
    return result


class Step(nn.Module):
    """A task's step as the forward pass of a module: gradients are exchanged for modules that are called."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model  # registered: its parameters are the ones to exchange
        self.task = task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.task.step(batch)


def wrap(task: Task) -> nn.Module:
    """A module that performs the task's step; with several ranks its backward pass averages gradients over them.

    Parameters that the task does not train are frozen first, so no rank waits for their gradients. Weights and buffers
    are rank 0's from here on.
    """
    task.model.requires_grad_(False)
    for parameter in task.trained():
        parameter.requires_grad_(True)
    step = Step(task)
    return DistributedDataParallel(step) if world_size() > 1 else step


def exchange(step: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Context of a forward and backward pass: whether its gradients are exchanged now or only added up."""
    return nullcontext() if now or not isinstance(step, DistributedDataParallel) else step.no_sync()
