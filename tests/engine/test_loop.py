"""The loop in one process: stopping, going on, refusing, accumulating."""

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
from torch import Tensor

from avsa.engine.signals import Interrupted
from avsa.errors import UserError

STEPS = 32  # of a job: two phases of two epochs of eight
EVERY_STEP = {"checkpoint_every_s": 1e-9}
EPOCH_ENDS = {"checkpoint_every_s": 1e9}


def state(folder: Path, name: str = "state.pt") -> dict[str, Any]:
    """A checkpoint as it lies on the disk."""
    content: dict[str, Any] = torch.load(folder / "state" / name, weights_only=True)
    return content


def assert_same(left: Any, right: Any) -> None:
    """Equal to the last bit, through dictionaries and lists."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for ours, theirs in zip(left, right, strict=True):
            assert_same(ours, theirs)
    elif isinstance(left, Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def assert_same_run(left: Path, right: Path) -> None:
    """The same end, the same state before it (which holds the optimiser's) and the same metrics."""
    assert_same(state(left), state(right))
    assert state(left, "previous.pt")["optimiser"]["state"]
    assert_same(state(left, "previous.pt"), state(right, "previous.pt"))
    assert FileTracker(left / "metrics.jsonl").entries() == FileTracker(right / "metrics.jsonl").entries()


@pytest.mark.parametrize(
    ("engine", "kill_before", "continues_after"),
    [(EVERY_STEP, 14, 13), (EPOCH_ENDS, 23, 16)],
    ids=["middle of phase 1, no step lost", "middle of phase 2, steps lost that were logged"],
)
def test_a_killed_process_continues_bit_equal(
    engine: dict[str, float], kill_before: int, continues_after: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    engine_toy.run(unbroken, Job(engine=engine))

    job = {str(broken): {"engine": engine, "kill": [kill_before, signal.SIGKILL, 0]}}
    process = subprocess.run([sys.executable, engine_toy.__file__, json.dumps(job)], check=False)
    assert process.returncode == -signal.SIGKILL
    steps = [entry["step"] for entry in FileTracker(broken / "metrics.jsonl").entries()]
    assert steps[-1] < kill_before
    if engine is EPOCH_ENDS:
        assert steps[-1] > continues_after

    engine_toy.run(broken, Job(engine=engine))
    assert f"continuing after step {continues_after} " in capfd.readouterr().err
    assert_same_run(unbroken, broken)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", [5, 16, STEPS])
def test_a_signal_saves_and_stops(number: int, code: int, step: int, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    engine_toy.run(unbroken, Job(engine=EPOCH_ENDS))
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        engine_toy.run(broken, Job(engine=EPOCH_ENDS, kill=(step, number, 0)))
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is handler
    assert state(broken)["position"]["steps"] == step
    engine_toy.run(broken, Job(engine=EPOCH_ENDS))
    assert_same_run(unbroken, broken)


def test_called_after_the_end_it_restores_and_does_nothing(tmp_path: Path) -> None:
    weights = engine_toy.run(tmp_path, Job()).state_dict()
    entries = FileTracker(tmp_path / "metrics.jsonl").entries()
    again = engine_toy.run(tmp_path, Job(kill=(1, signal.SIGKILL, 0)))  # a single step would end this process
    assert_same(dict(again.state_dict()), dict(weights))
    assert FileTracker(tmp_path / "metrics.jsonl").entries() == entries


def test_metrics_are_means_over_the_steps_since_the_last_entry(tmp_path: Path) -> None:
    engine_toy.run(tmp_path / "each", Job(engine={"log_every": 1}))
    engine_toy.run(tmp_path / "third", Job(engine={"log_every": 3}))
    each = FileTracker(tmp_path / "each/metrics.jsonl").entries()
    third = FileTracker(tmp_path / "third/metrics.jsonl").entries()
    assert [entry["step"] for entry in each] == list(range(1, STEPS + 1))
    assert [entry["step"] for entry in third] == sorted({*range(3, STEPS, 3), *range(8, STEPS + 1, 8)})
    begin = 0
    for entry in third:
        end = int(entry["step"])
        assert entry["train/loss"] == pytest.approx(sum(e["train/loss"] for e in each[begin:end]) / (end - begin))
        assert ("val/loss" in entry) == (end % 8 == 0)
        begin = end
    assert [entry["train/epoch"] for entry in each[::8]] == [0, 1, 2, 3]
    assert [entry["train/lr"] for entry in each[15:18]] == [1e-2, 1e-2, 1e-2 / 2]


@pytest.mark.parametrize(
    ("job", "what", "step", "ids"),
    [
        (Job(poison=5), "loss", 14, [f"clip-1-5-{row}" for row in range(8)]),
        (Job(poison=5, parts=2, engine={"accumulate": 2}), "loss", 14, [f"clip-1-5-{row}" for row in range(8)]),
        (Job(task="steep"), "gradient", 1, [f"clip-0-0-{row}" for row in range(8)]),
    ],
    ids=["loss", "loss of a part", "gradient"],
)
def test_not_finite_stops_before_anything_is_overwritten(
    job: Job, what: str, step: int, ids: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as stopped:
        engine_toy.run(tmp_path, job)
    assert f"{what} not finite at step {step} (batch: {', '.join(ids)})" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    if step > 8:
        saved = state(tmp_path)
        assert saved["position"]["steps"] == 8
        assert all(weights.isfinite().all() for weights in saved["model"].values())
    else:
        assert not (tmp_path / "state" / "state.pt").exists()
    (kept,) = stopped.value.evidence
    batch = torch.load(kept, weights_only=True)
    assert batch["step"] == step
    assert [name for part in batch["parts"] for name in part["ids"]] == ids
    poisoned = [not bool(part["x_B"].isfinite().all()) for part in batch["parts"]]
    assert any(poisoned) == (what == "loss")


def test_accumulated_parts_are_the_whole_batch_for_a_loss_per_example(tmp_path: Path) -> None:
    whole = engine_toy.run(tmp_path / "whole", Job(dropout=False))
    parts = engine_toy.run(tmp_path / "parts", Job(dropout=False, parts=4, engine={"accumulate": 4}))
    for (name, ours), theirs in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
    left, right = (FileTracker(tmp_path / name / "metrics.jsonl").entries() for name in ("whole", "parts"))
    for ours_, theirs_ in zip(left, right, strict=True):
        assert ours_ == pytest.approx(theirs_, rel=1e-4)


def test_parameters_that_the_task_does_not_train_stay(tmp_path: Path) -> None:
    before = engine_toy.network(dropout=True).state_dict()
    after = engine_toy.run(tmp_path, Job())
    assert torch.equal(after.state_dict()["unused.weight"], before["unused.weight"])
    assert not torch.equal(after.state_dict()["head.weight"], before["head.weight"])
    assert [name for name, p in after.named_parameters() if not p.requires_grad] == ["unused.weight", "unused.bias"]
    with pytest.raises(ValueError, match="does not reach"):
        engine_toy.run(tmp_path / "wrong", Job(task="unreached"))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    engine_toy.run(tmp_path, Job(dropout=True))
    with pytest.raises(UserError, match="another architecture"):
        engine_toy.run(tmp_path, Job(dropout=False))


def test_data_smaller_than_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not fill one batch"):
        engine_toy.run(tmp_path, Job(length=2, engine={"accumulate": 3}))
