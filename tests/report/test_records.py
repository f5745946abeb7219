"""Records: the schema, what is refused, and means over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_records import record

from avsa.errors import UserError
from avsa.report.records import nested_means, read_records, write_records

KEYS = ["model", "pretext", "task", "setting", "metric", "value", "ci95", "n", "seed", "dataset", "run_id"]


def plain(pretext: str, task: str, setting: str, value: float, seed: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = record(pretext, task, setting, value, seed).model_dump(mode="json")
    return made


def test_written_records_are_the_read_ones_in_order(tmp_path: Path) -> None:
    late, early = plain("avsa", "avsa-bin", "4 crops", 68.25), plain("avc", "avc-bin", "1 crop", 81.5)
    (tmp_path / "a.json").write_text(json.dumps([late]))
    (tmp_path / "b.json").write_text(json.dumps([early]))
    records = read_records([tmp_path / "a.json", tmp_path / "b.json", tmp_path / "not there.json"])
    write_records(tmp_path / "reports" / "results.json", records)
    written = json.loads((tmp_path / "reports" / "results.json").read_text())
    assert written == [early, late]
    assert list(written[0]) == KEYS
    assert read_records([tmp_path / "reports" / "results.json"]) == records


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[{", "JSON"),
        ("{}", "list"),
        (json.dumps([{k: v for k, v in plain("avc", "avc-bin", "1 crop", 50.0).items() if k != "ci95"}]), "0.ci95"),
        (json.dumps([plain("avc", "avc-bin", "1 crop", 50.0) | {"accuracy": 1}]), "0.accuracy"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"results\.json: not a list of results") as caught:
        read_records([path])
    assert what in str(caught.value)


def test_means_are_over_seeds(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    values = [plain("avsa", "avc-bin", "1 crop", value, seed) for seed, value in enumerate((80.0, 81.0, 85.0))]
    values += [plain("avsa", "segmentation", "video", value) | {"metric": metric}
               for metric, value in (("pixel_accuracy", 90.126), ("miou", 30.0))]  # fmt: skip
    path.write_text(json.dumps(values))
    assert nested_means(read_records([path])) == {
        "avc-bin": {"avsa": {"1 crop": {"accuracy": 82.0}}},
        "segmentation": {"avsa": {"video": {"pixel_accuracy": 90.13, "miou": 30.0}}},
    }
