"""Stages of a toy pipeline that record themselves as the real ones do."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from avsa.resolve import resolve
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file

FILES = {
    "dvc.yaml": """
stages:
  data:
    cmd: {ask} stage data
    deps: [code]
    params: [size]
    outs: [data/numbers]
  train:
    matrix: {{seed: [0]}}
    cmd: {ask} stage train ${{item.seed}}
    deps: [code, data/numbers]
    params: [rate]
    outs: ["checkpoints/toy-${{item.seed}}"]
  report:
    cmd: {ask} stage report
    deps: [checkpoints]
    outs:
      - reports/table.json: {{cache: false}}
    metrics:
      - reports/metrics.json: {{cache: false}}
""",
    "params.yaml": "size: 3\nrate: 1\n",
    "code/toy.txt": "the code\n",
    ".gitignore": "/runs/\n/mlflow.db*\n/mlartifacts/\n/data/\n/checkpoints/\n",
}


def main(arguments: list[str]) -> int:
    """Run a stage in the current folder."""
    stage, *rest = arguments
    params = yaml.safe_load(Path("params.yaml").read_text())
    resolved = resolve(Path("/dev/null"))
    if stage == "data":
        with stage_run(resolved, "data", "data") as run:
            numbers = Path("data/numbers")
            numbers.mkdir(parents=True, exist_ok=True)
            (numbers / "all.json").write_text(json.dumps(list(range(params["size"]))))
    elif stage == "train":
        out = Path(f"checkpoints/toy-{rest[0]}")
        with stage_run(resolved, "train", out.name, arguments={"seed": rest[0]}) as run:
            numbers = json.loads(Path("data/numbers/all.json").read_text())
            for step, number in enumerate(numbers, start=1):
                run.log({"train/loss": params["rate"] / (1 + number)}, step)
            out.mkdir(parents=True, exist_ok=True)
            (out / "network.pt").write_text(f"{sum(numbers) * params['rate']}")
            write_run_file(out / RUN_FILE, run)
            run.checkpoint(out.name, out / "network.pt", {"seed": rest[0]})
    else:
        with stage_run(resolved, "report", "report"):
            value = float(Path("checkpoints/toy-0/network.pt").read_text())
            Path("reports").mkdir(exist_ok=True)
            run_id = json.loads(Path("checkpoints/toy-0/run.json").read_text())["run_id"]
            Path("reports/table.json").write_text(json.dumps([{"value": value, "run_id": run_id}]))
            Path("reports/metrics.json").write_text(json.dumps({"value": value}))
    return 0
