"""The verb on real trainings: from a sweep file to an adopted configuration, with which the stages come to the same."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import avsa
from mlflow import MlflowClient

from avsa.sweep.storage import default_url, open_storage
from avsa.sweep.studies import Studies, load_studies

PARAMS = """
base: base.yaml
dataset: tiny
"""
BASE = """
synth: {train: 8, val: 4, test: 4, places: 2, height: 48, duration_s: 1.0, fps: 8, sample_rate: 8000}
clips: {clip_s: 1.0, height: 48, fps: 8, sample_rate: 8000}
views: {size: 24, frames: 3, audio_s: 0.5, crops: 2, fov_deg: [80, 100]}
audio: {kind: ambisonics, mels: 16, window: 256, hop: 160}
model: {video_depth: 10, width: 0.0625, head_dim: 16, translator: {depth: 1}}
pretrain: {examples_per_clip: 2}
evaluate: {batch: 4, binary: {epochs: 2}}
engine: {device: cpu, workers: 0, threads: 1, log_every: 1, val_batches: 2}
"""
METRIC = "avsa-bin/2 crops/accuracy"
SWEEP: dict[str, Any] = {
    "study": "small",
    "budget": {"clips": 48},
    "validations": 3,
    "metrics": [METRIC],
    "trials": 2,
    "random": False,
    "finalists": {"count": 1, "seeds": [1]},
    "space": {
        "audio": {"kind": {"choice": ["ambisonics+intensity"], "paper": "ambisonics+intensity"}},
        "pretrain": {
            "temperature": {"float": [0.05, 0.2], "log": True, "paper": 0.07},
            "runs": {
                "avc": [{"objective": "avc", "share": 0.5, "batch": 8, "crops": 1, "lr": 0.001}],
                "avsa": [
                    {"objective": "hard-only", "share": {"float": [0, 1], "paper": 0}, "batch": 4, "crops": 2},
                    {"objective": "avsa", "batch": 4, "crops": 2, "schedule": "cosine", "hard_weight": 3.0},
                ],
            },
        },
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with clips and statistics, and a study that has run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "base.yaml").write_text(BASE)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    for arguments in (("synth", "--jobs", "1"), ("ingest", "--jobs", "1"), ("stats",), ("sweep", "sweep.yaml")):
        assert avsa(folder, *arguments) == 0, arguments
    return folder


def studies_of(folder: Path) -> Studies:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        url = default_url("small")
        return load_studies("small", open_storage(url, create=False), url)[0]


def test_trials_are_recorded_below_the_studys_run(project: Path) -> None:
    studies = studies_of(project)
    trials = [*studies.search.trials, *studies.finalists.trials]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    parent = client.get_run(studies.search.user_attrs["run"]["run_id"])
    assert (parent.info.status, parent.data.tags["avsa.stage"]) == ("FINISHED", "sweep")
    content = (project / "runs/sweep/small/report/trials.jsonl").read_text()
    assert len(content.splitlines()) == 4
    assert len(parent.data.tags["sweep.database_sha256"]) == len(parent.data.tags["sweep.trials_sha256"]) == 64
    kept = {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report.html", "trials.jsonl", "history.png", "validation.png"} <= kept
    for trial in trials:
        run = client.get_run(trial.user_attrs["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["sweep.kind"] == trial.user_attrs["kind"]
        assert run.data.metrics[f"objective/{METRIC}"] == trial.values[0]
        way = "v2a", "a2v"
        curves = [client.get_metric_history(run.info.run_id, f"val/within_clip_{one}") for one in way]
        means = [50 * (first.value + second.value) for first, second in zip(*curves, strict=True)]
        assert means == pytest.approx([value for _, value in sorted(trial.intermediate_values.items())])
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, len(steps) + 1))  # over both runs, each step once
        assert float(run.data.params["cfg.pretrain.temperature"]) == trial.params["pretrain.temperature"]
        assert max(trial.intermediate_values) <= trial.user_attrs["spent"] == 48
    assert {run.data.tags.get("sweep.kind") for run in _children(client, parent.info.run_id)} == {
        *("paper", "search", "search 1"),
    }
    assert [set(trial.user_attrs["figures"]) >= {METRIC, f"test: {METRIC}"} for trial in trials] == [False] * 2 + [
        True
    ] * 2


def _children(client: MlflowClient, parent: str) -> list[Any]:
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'"))


def test_what_trials_have_in_common_is_made_once_and_their_networks_are_not_kept(project: Path) -> None:
    made = (path for path in (project / "runs/sweep/common").iterdir() if path.suffix != ".lock")
    assert sorted(path.name.partition("-")[0] for path in made) == ["statistics", "untrained", "untrained"]  # two seeds
    left = {path.name for path in (project / "runs/sweep/small/search/0").iterdir()}
    assert left <= {"log.txt", "run.json", ".lock"}


def test_with_the_adopted_configuration_the_stages_come_to_the_trials_figures(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the last bit: the same curves, and the same figure on the validation split."""
    trial = studies_of(project).search.trials[1]
    assert avsa(project, "sweep", "--adopt", "small", "--trial", "1") == 0
    assert capsys.readouterr().out.strip() == "configs/found/small.yaml"
    text = (project / "configs/found/small.yaml").read_text()
    found = yaml.safe_load(text)
    assert (found["base"], found["engine"]["threads"]) == ("base.yaml", 1)
    assert found["pretrain"]["temperature"] == trial.params["pretrain.temperature"]
    for said in (trial.user_attrs["run_id"], f"{METRIC} {trial.values[0]:.4f}", "study small, search 1"):
        assert said in text.replace("\n# ", " ")
    base = ("--base", "configs/found/small.yaml")
    stages = [("stats",), ("init",), ("pretrain", "avc"), ("pretrain", "avsa", "--from", "avc")]
    for stage in (*stages, ("evaluate", "avsa", "avsa-bin", "--set", "evaluate.split=val")):
        assert avsa(project, *stage, *base) == 0
    reported = []
    for run in ("avc-0", "avsa-0"):
        with (project / "checkpoints" / run / "curve.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["val/within_clip_v2a"]]
        reported += [100 * (float(row["val/within_clip_v2a"]) + float(row["val/within_clip_a2v"])) / 2 for row in rows]
    assert reported == [value for _, value in sorted(trial.intermediate_values.items())]
    records = json.loads((project / "evaluations/avsa-avsa-bin-0/results.json").read_text())
    values = {record["setting"]: record["value"] for record in records}
    assert values["2 crops, validation"] == round(trial.values[0], 2)


def test_the_winner_is_adopted_unless_a_trial_is_named(project: Path) -> None:
    assert avsa(project, "sweep", "--adopt", "small") == 0
    text = (project / "configs/found/small.yaml").read_text()
    assert "Validation, unseen seeds" in text
    assert "Test, unseen seeds" in text


def test_beside_other_clips_adoption_warns(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    here = shutil.copytree(project, tmp_path / "project", symlinks=True)
    assert avsa(here, "sweep", "--adopt", "small") == 0
    assert not caplog.messages
    (manifest,) = here.glob("data/clips/*/manifest.jsonl")
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    assert avsa(here, "sweep", "--adopt", "small") == 0
    assert [message.partition(" than ")[0] for message in caplog.messages] == ["study small was made with other clips"]


def test_the_report_is_written_whenever_it_is_wanted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same one, while nothing has changed."""
    trials = project / "runs/sweep/small/report/trials.jsonl"
    before = trials.read_text()
    trials.unlink()
    assert avsa(project, "sweep", "--report", "small") == 0
    *said, page = capsys.readouterr().out.splitlines()
    assert page == "runs/sweep/small/report/report.html"
    assert said[0].startswith("small: 2 complete; 96 seen")
    assert trials.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("sweep",), "give a sweep file, such as configs/sweep/curriculum.yaml, or --report or --adopt STUDY"),
        (("sweep", "sweep.yaml", "--report", "small"), "give a sweep file, such as"),
        (("sweep", "--report", "other"), "runs/sweep/other/study.db: no such study file: name the study"),
        (("sweep", "none.yaml"), "none.yaml: no such configuration file"),
        (("sweep", "sweep.yaml", "--study", "a/b"), "sweep.yaml: study: a name of letters, digits, - and _, got 'a/b'"),
        (("sweep", "sweep.yaml", "--set", "audio.mels=20"), "study small was begun with another configuration"),
        (
            ("sweep", "sweep.yaml", "--storage", "postgresql://a:b@127.0.0.1:1/c"),
            "a:***@127.0.0.1:1/c: the study's storage",
        ),
        (("sweep", "sweep.yaml", "--set", "dataset=other"), "no clip store at data/clips/other"),
        (("sweep", "sweep.yaml", "--set", "engine.val_batches=0"), "validation while training needs views.crops of 2"),
        (("sweep", "--adopt", "small", "--trial", "7"), "study small has no complete trial 7"),
        (("sweep", "--adopt", "other"), "runs/sweep/other/study.db: no such study file: name the study"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert avsa(project, *arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("avsa: ")
    assert line in said
