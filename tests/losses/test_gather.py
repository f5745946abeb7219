"""Two gloo processes under DistributedDataParallel against one process with the concatenated batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from avsa.losses import ContrastiveObjective
from avsa.losses.gather import gather_rows
from avsa.models import NetworkSpec, build_network

WORLD, B, K = 2, 3, 2
CASES = [("avc", False), ("avc-multi", False), ("avsa", False), ("avsa", True), ("avts", True), ("avsa+avts", True)]


class Step(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = build_network(NetworkSpec(10, 1 / 32, 1 / 32, translator_dropout=0.0), seed=0).double()
        self.objective = ContrastiveObjective(name)

    def forward(self, video: Tensor, audio: Tensor, video_B: Tensor | None, moment_B: Tensor | None) -> Tensor:
        return self.objective(self.network, video, audio, video_B, moment_B)[0]


def _batch(numbered: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    video, audio = torch.randn(2, WORLD * B, K, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    # Video 4 is on both ranks, at different moments.
    numbers = (torch.tensor([4, 1, 0, 4, 2, 4]), torch.tensor([0, 0, 0, 1, 0, 2])) if numbered else (None, None)
    return video, audio, *numbers


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n.removeprefix("module."): p.grad for n, p in module.named_parameters() if p.grad is not None}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    result: dict[str, object] = {}
    for name, numbered in CASES:
        part = [None if x is None else x[rank * B : (rank + 1) * B] for x in _batch(numbered)]
        step = DistributedDataParallel(Step(name), find_unused_parameters=True)
        loss = step(*part)
        loss.backward()
        result[f"{name} {numbered}"] = (loss.detach(), _gradients(step))
    rows = torch.arange(2.0).add(10 * rank).requires_grad_()
    gathered = gather_rows(rows)
    (gathered * torch.tensor([1.0, 2.0, 3.0, 4.0]) * (rank + 1)).sum().backward()
    result["rows"] = (gathered.detach(), rows.grad)
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[Tensor, dict[str, Tensor]]]]:
    folder: Path = tmp_path_factory.mktemp("gloo")
    spawn(_worker, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize(("name", "numbered"), CASES)
def test_two_processes_equal_one(
    name: str, numbered: bool, ranks: list[dict[str, tuple[Tensor, dict[str, Tensor]]]]
) -> None:
    step = Step(name)
    loss = step(*_batch(numbered))
    loss.backward()
    wanted = _gradients(step)
    losses = [rank[f"{name} {numbered}"][0] for rank in ranks]
    assert float(losses[0]) != float(losses[1])
    torch.testing.assert_close(sum(losses) / WORLD, loss.detach(), rtol=1e-12, atol=1e-12)
    for rank in ranks:
        gradients = rank[f"{name} {numbered}"][1]
        for parameter, gradient in wanted.items():
            torch.testing.assert_close(gradients[parameter], gradient, rtol=1e-10, atol=1e-12)


def test_gathered_rows_come_in_rank_order_and_sum_their_gradients(
    ranks: list[dict[str, tuple[Tensor, Tensor]]],
) -> None:
    for rank in ranks:
        assert rank["rows"][0].tolist() == [0, 1, 10, 11]
    assert [rank["rows"][1].tolist() for rank in ranks] == [[3, 6], [9, 12]]


def test_outside_distributed_runs_rows_stay_themselves() -> None:
    rows = torch.randn(3, 4)
    assert gather_rows(rows) is rows
