"""`avsa download` as a user meets it: lists, a mirror that does not answer, the summary."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from command_line import avsa
from mlflow import MlflowClient

HERE, THERE = "aaaaaaaaaa0", "bbbbbbbbbb4"


def test_lists_a_silent_mirror_and_the_summary(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # nobody listens there
    mirror = {"address": f"http://127.0.0.1:{port}/{{id}}.mkv", "attempts": 2, "backoff_s": 0.01, "interval_s": 0}
    (tmp_path / "params.yaml").write_text(json.dumps({"dataset": "mine", "download": mirror}))

    assert avsa(tmp_path, "download", "--summary") == 2
    assert capfd.readouterr().err == "avsa: no list of ids in data/lists/mine, such as train.txt\n"
    lists = tmp_path / "data" / "lists" / "mine"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(HERE)
    (lists / "test.txt").write_text(THERE)
    (lists / "segments.txt").write_text(f"{HERE} 0,10,20\n{THERE} " + ",".join(str(10 * n) for n in range(360)))

    assert avsa(tmp_path, "download", "--summary") == 0
    assert "missing in test: 1 not tried, 1.00 h of clips" in capfd.readouterr().out
    assert not (tmp_path / "data" / "raw").exists()
    assert not (tmp_path / "mlflow.db").exists()

    assert avsa(tmp_path, "download", "--limit", "1") == 0
    said = capfd.readouterr().out
    assert "missing in train: 1 network, 0.01 h of clips" in said
    assert "missing in test: 1 not tried, 1.00 h of clips" in said
    assert "each missing one, and why: data/raw/mine/missing.tsv" in said
    (entry,) = map(json.loads, (tmp_path / "data" / "raw" / "mine" / "downloads.jsonl").read_text().splitlines())
    assert (entry["id"], entry["state"]) == (HERE, "network")
    assert "refused" in entry["error"].lower()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avsa")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["avsa.stage"], run.data.metrics["test/hours"]) == ("FINISHED", "download", 0)

    assert avsa(tmp_path, "download", "--set", "download.clients=[netscape]") == 2
    assert "download.clients: yt-dlp does not know 'netscape'; it knows android" in capfd.readouterr().err
    assert avsa(tmp_path, "download", "--set", "download.adress=x") == 2
    assert "unknown key; did you mean 'download.address'?" in capfd.readouterr().err
