"""What a search costs beside the trials: their processes, the studies in the storage, the runs in MLflow.

Trials of the curriculum's space and budget at demo size, one after the other, on few clips: measuring them takes less
time than on all, so that the share is overstated if anything. The overhead is the time between the first trial's
beginning and the last one's end in which none trained or measured, as a share of the time in which one did.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks import record

TRIALS = 3
ROOT = record.FOLDER.parent
PARAMS = {
    "base": str(ROOT / "configs/demo.yaml"),
    "dataset": "few",
    "synth": {"train": 128, "val": 64, "test": 4},
    "pretrain": {"examples_per_clip": 2},
}


def main() -> None:
    """Measure and write the figure."""
    plan = yaml.safe_load((ROOT / "configs/sweep/curriculum.yaml").read_text())
    plan |= {"trials": TRIALS, "random": False, "pruning": None, "finalists": {"count": 0}}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
        (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
        for verb in ("synth", "ingest", "stats"):
            avsa(folder, verb)
        began = time.time()
        avsa(folder, "sweep", "sweep.yaml")
        whole_s = time.time() - began
        first, last, work_s = times(folder / "runs/sweep/curriculum/study.db")
    overhead = 100 * (last - first - work_s) / work_s
    around_s = whole_s - last + first
    print(f"{TRIALS} trials of {work_s / TRIALS:.1f} s each; beginning and report of the search: {around_s:.1f} s")
    each = f"% of the trials' time, {(last - first - work_s) / TRIALS:.2f} s a trial"
    record.write("sweep", overhead, each, 3.0, overhead / 3.0)


def avsa(folder: Path, *arguments: str) -> None:
    """Run a verb in a project folder."""
    subprocess.run([sys.executable, "-m", "avsa", *arguments], cwd=folder, check=True)


def times(database: Path) -> tuple[float, float, float]:
    """When the first trial began and the last one ended, and the seconds in which trials trained and measured."""
    import optuna

    trials = optuna.load_study(storage=f"sqlite:///{database}", study_name="curriculum").trials
    work = [float(trial.user_attrs.get("work_s", 0)) for trial in trials]
    if len(work) != TRIALS or not all(work):
        raise RuntimeError(f"{TRIALS} complete trials are expected: {[trial.state.name for trial in trials]}")
    first, last = (
        [moment.timestamp() for trial in trials if (moment := getattr(trial, name))]
        for name in ("datetime_start", "datetime_complete")
    )
    return min(first), max(last), sum(work)
