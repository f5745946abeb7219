"""Records as an evaluation would write them."""

from __future__ import annotations

from avsa.report.records import Record


def record(
    pretext: str,
    task: str,
    setting: str,
    value: float,
    seed: int = 0,
    metric: str = "accuracy",
    dataset: str = "synth360",
) -> Record:
    return Record(
        model="r2plus1d-10",
        pretext=pretext,
        task=task,
        setting=setting,
        metric=metric,
        value=value,
        ci95=(round(value - 1.4, 2), round(value + 1.6, 2)),
        n=800,
        seed=seed,
        dataset=dataset,
        run_id=f"{pretext}-{task}-{seed}",
    )
