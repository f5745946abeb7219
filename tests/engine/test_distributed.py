"""Two processes under torchrun: the same numbers as one, the same stop, the same restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import engine_toy
import pytest
import torch
from engine_toy import FileTracker, Job
from test_loop import assert_same_run, state

from avsa.config import Engine
from avsa.engine import distributed
from avsa.errors import UserError


def test_two_ranks_equal_one_and_stop_together(tmp_path: Path) -> None:
    stop_in_rank_1 = {"kill": [13, signal.SIGTERM, 1]}
    accumulate = {"parts": 2, "engine": {"accumulate": 2}}
    jobs: dict[str, dict[str, Any]] = {  # one start of torchrun for all: starting is what takes long
        "contrast": {"task": "contrast", "dropout": False},
        "accumulate": {"dropout": False, **accumulate},
        "unbroken": {},
        "broken": stop_in_rank_1,
        "./broken": {},
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, engine_toy.__file__, json.dumps(jobs)], cwd=tmp_path, check=True, timeout=300)

    for name in ("contrast", "accumulate"):
        alone = engine_toy.run(tmp_path / "alone" / name, Job(**jobs[name]))
        left, right = (FileTracker(tmp_path / p / name / "metrics.jsonl").entries() for p in ("alone", "."))
        for ours, theirs in zip(left, right, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
        for rank in range(2):
            gradients = torch.load(tmp_path / name / f"gradients-{rank}.pt", weights_only=True)
            assert set(gradients) == {n for n, p in alone.named_parameters() if p.grad is not None}
            for key, parameter in alone.named_parameters():
                if parameter.grad is not None:
                    torch.testing.assert_close(gradients[key], parameter.grad, rtol=1e-3, atol=1e-5, msg=key)

    assert all((tmp_path / "broken" / f"interrupted-{rank}").read_text().startswith("stopped by") for rank in range(2))
    assert_same_run(tmp_path / "unbroken", tmp_path / "broken")
    first, second = state(tmp_path / "unbroken")["ranks"]
    assert not torch.equal(first["random"]["torch"], second["random"]["torch"])


def test_without_a_process_group_every_answer_is_for_one_process() -> None:
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.maximum(1.0, 2.0) == [1.0, 2.0]
    assert distributed.mean({"a": 3.0}) == {"a": 3.0}
    assert distributed.collect("x") == ["x"]
    assert distributed.on_main(lambda: 5) == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_one_line() -> None:
    with pytest.raises(UserError, match="sees no GPU"):
        distributed.setup(Engine(device="cuda"))
    assert distributed.setup(Engine(device="auto", threads=1)) == torch.device("cpu")
    assert torch.get_num_threads() == 1
