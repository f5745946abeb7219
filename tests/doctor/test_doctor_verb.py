"""The verb: a line for each finding, the exit code, JSON, and nothing made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import avsa
from dvc.repo import Repo


def test_lines_exit_code_and_json(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "params.yaml").write_text("engine: {workers: 0, device: cpu}\n")
    Repo.init(str(tmp_path), no_scm=True).close()
    capfd.readouterr()
    assert avsa(tmp_path, "doctor") == 0
    lines = capfd.readouterr().out.splitlines()
    subjects = ["versions", "disk", "memory", "gpu", "git", "credentials", "dvc remote", "tracking"]
    assert list(dict.fromkeys(line[9:21].strip() for line in lines)) == subjects
    assert all(line.split()[0] in ("ok", "warning") for line in lines)
    (remote,) = (line for line in lines if "dvc remote" in line)
    assert remote.endswith("this machine only -> dvc remote add -d NAME s3://BUCKET/FOLDER, then dvc push")

    assert avsa(tmp_path, "doctor", "--json", "--set", "tracking.uri=http://localhost:1") == 1
    found = json.loads(capfd.readouterr().out)
    problem = {"subject": "tracking", "level": "problem", "text": "http://localhost:1: nobody listens there"}
    assert [{**item, "mend": ""} for item in found if item["level"] == "problem"] == [{**problem, "mend": ""}]
    assert {item["level"] for item in found} == {"ok", "warning", "problem"}

    (tmp_path / "docker").mkdir()
    assert avsa(tmp_path, "doctor", "--container", "docker") == 2
    assert "docker/MLproject names no image" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", ".dvcignore", "docker", "params.yaml"]
