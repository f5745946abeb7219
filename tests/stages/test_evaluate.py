"""The frame of every evaluation: names, files, what the run keeps, interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avsa.errors import UserError
from avsa.resolve import resolve
from avsa.stages import evaluate, paths
from avsa.stages.job import Figure, Job
from avsa.tracking.run import Run

Measure = Callable[[Job, str], Iterator[Figure]]
ENCODER = """
from torch import nn

class Own(nn.Module):
    video_dim = 3
    def video(self, x):
        return x.mean((2, 3, 4))

def evaluated_frame(argument=""):
    return Own()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "evaluated_frame.py").write_text(ENCODER)
    (tmp_path / "params.yaml").write_text(json.dumps({"engine": {"device": "cpu"}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measured(job: Job, task: str) -> Iterator[Figure]:
    """What an interrupted training leaves, a picture, two figures."""
    state = paths.state("trained")
    state.mkdir(parents=True, exist_ok=True)
    job.finished.append(state)
    job.run.log({"train/loss": 1.0}, step=7)
    (job.out / "confusion.png").write_bytes(b"a picture")
    yield Figure("4 crops, translator (audio)", "accuracy", 61.0, (58.0, 64.0), 100)


def broken(job: Job, task: str) -> Iterator[Figure]:
    yield from measured(job, task)
    raise UserError("the last setting cannot be measured")


def test_an_evaluation(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Run] = []

    def run(measure: Measure, *arguments: str) -> None:
        def kept(job: Job, task: str) -> Iterator[Figure]:
            runs.append(job.run)
            return measure(job, task)

        monkeypatch.setattr(evaluate, "measurement", lambda task: kept)
        evaluate.run_evaluate(resolve(), "evaluated_frame:evaluated_frame:mean", "ucf101-1", 0, *arguments)

    # Refused: nothing stays but what the next start goes on from, in the same run.
    with pytest.raises(UserError, match="cannot be measured"):
        run(broken)
    assert not list((here / "evaluations").iterdir())
    assert paths.state("trained").exists()

    old = here / "evaluations" / "evaluated_frame-mean-ucf101-1-0"
    old.mkdir()
    (old / "stale.png").write_bytes(b"of another code")
    run(measured)
    assert runs[1].run_id == runs[0].run_id
    metrics = runs[1].client.get_run(runs[1].run_id).data.metrics
    assert not [name for name in metrics if name.startswith("avsa-bin/")]
    trained = [name for name in metrics if name.startswith("train/")]
    assert {m.step for name in trained for m in runs[1].client.get_metric_history(runs[1].run_id, name)} == {7}
    assert [path.name for path in (here / "evaluations").iterdir()] == [old.name]
    assert {path.name for path in old.iterdir()} == {"confusion.png", "results.json", "run.json"}
    assert {file.path for file in runs[1].client.list_artifacts(runs[1].run_id)} == {
        "confusion.png", "config.yaml", "results.json", "traceback.txt",
    }  # fmt: skip
    assert runs[1].history("ucf101-1/4-crops-translator-audio/accuracy") == {0: 61.0}
    assert [path.name for path in (here / "runs").iterdir()] == ["spool"]
    assert not list((here / "runs" / "spool").iterdir())

    # Under another name beside it; and a new run, as the first is over.
    run(measured, "mine")
    assert runs[2].run_id != runs[1].run_id
    for folder, name in ((old, "evaluated_frame-mean"), (here / "evaluations" / "mine-ucf101-1-0", "mine")):
        (record,) = json.loads((folder / "results.json").read_text())
        assert (record["pretext"], record["model"]) == (name, "Own")

    # What was there stays, where the next one fails.
    with pytest.raises(UserError, match="cannot be measured"):
        run(broken, "mine")
    assert (here / "evaluations" / "mine-ucf101-1-0" / "results.json").exists()


@pytest.mark.parametrize("name", ["", "a/b", "../a", "own:net", ".hidden"])
def test_a_name_is_one_of_a_folder(here: Path, name: str) -> None:
    with pytest.raises(UserError, match="a folder is named so"):
        evaluate.run_evaluate(resolve(), "evaluated_frame:evaluated_frame", "ucf101-1", 0, name)


def test_several_processes_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="evaluate runs in one process"):
        evaluate.run_evaluate(resolve(), "evaluated_frame:evaluated_frame", "ucf101-1", 0)
