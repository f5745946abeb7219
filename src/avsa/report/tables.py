"""The paper's four tables: which of our figures belongs into which of their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import yaml

from avsa.report.names import NAMES, TASKS
from avsa.report.records import Record
from avsa.report.table import Column, Line, Table, fill, settings

TRANSLATIONS = ("audio", "video", "parallel")  # beside the usual one
HEADS = {
    "": "",
    "translator": "with translators",
    **{f"translator ({kind})": f"with translators ({kind})" for kind in TRANSLATIONS},
    "fine-tuned": "fine-tuned",
    "translator, fine-tuned": "fine-tuned, with translators",
    **{f"translator ({kind}), fine-tuned": f"fine-tuned, with translators ({kind})" for kind in TRANSLATIONS},
    "audio only": "without the picture",
}
INPUTS = {"video": "video", "video+audio": "+ audio", "video+audio+context": "+ audio + context"}
FOLDS = (2, 3)  # beside the first, the one that the paper reports
KINETICS = ("kinetics", "r2plus1d_18", "r2plus1d_18-KINETICS400_V1")  # names of one checkpoint
_CROPS = re.compile(r"(\d+) crops?\b")


def paper_tables(records: Sequence[Record], checkpoints: Sequence[str] = (), heard: str = "ambisonics") -> list[Table]:
    """The paper's tables in its order, then its ablations.

    Args:
        checkpoints: names that get rows even if nothing of them was measured.
        heard: the kind of audio features that `avsa` was trained on.
    """
    by_pretext = [make(records, checkpoints) for make in (binary_table, segmentation_table, action_table)]
    return [*by_pretext, ablation_table(records, heard)]


def paper_results() -> dict[str, list[dict[str, Any]]]:
    """The figures printed in the paper, by table and line."""
    text = files("avsa.report").joinpath("paper_results.yaml").read_text(encoding="utf-8")
    results: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return results


def binary_table(records: Sequence[Record], checkpoints: Sequence[str] = ()) -> Table:
    """Table 2: accuracy with one crop and several; the floor and the control of equal compute are rows too."""
    several = tuple(_crops(k) for k in _several(records))
    columns = [
        column
        for task in ("avc-bin", "avsa-bin")
        for column in (
            Column(f"{task.replace('-', '_')}_1", TASKS[task], "1 crop", task, "accuracy", ("1 crop",)),
            Column(f"{task.replace('-', '_')}_4", TASKS[task], "4 crops", task, "accuracy", several, plot=task),
        )
    ]
    pretexts = ["untrained", "avc-long", "avts", "avsa", *checkpoints]
    return _by_pretext("binary", columns, HEADS, pretexts, records)


def segmentation_table(records: Sequence[Record], checkpoints: Sequence[str] = ()) -> Table:
    """Table 3: the paper's mean IoU is that of images; that of the whole set stands beside it."""
    columns = [
        Column("pixel_accuracy", "", "Pixel accuracy", "segmentation", "pixel_accuracy"),
        Column("miou_image", "", "mIoU, per image", "segmentation", "miou_image", plot="segmentation"),
        Column("miou", "", "mIoU, whole set", "segmentation", "miou"),
    ]
    pretexts = ["untrained", *_printed("segmentation"), *checkpoints]
    return _by_pretext("segmentation", columns, INPUTS | {"end-to-end": "end to end"}, pretexts, records)


def action_table(records: Sequence[Record], checkpoints: Sequence[str] = ()) -> Table:
    """Table 4: fine-tuning on the first split; means over the splits where more were measured."""
    columns = [
        Column(
            f"{name}_{unit}",
            TASKS[f"{name}-1"].split(",")[0],
            f"{unit} top‑1",
            f"{name}-1",
            f"{unit}_top1",
            ("fine-tuned",),
            plot=name if unit == "video" else "",
            folds=tuple(f"{name}-{fold}" for fold in FOLDS),
        )
        for name in ("ucf101", "hmdb51")
        for unit in ("clip", "video")
    ]
    names = {"untrained": ("Scratch", "fine-tuned from random weights")}
    return _by_pretext("action", columns, {"": ""}, [*_printed("action"), *checkpoints], records, names)


def ablation_table(records: Sequence[Record], heard: str = "ambisonics") -> Table:
    """The supplement's table 3: one thing changed at a time, each measured in the fullest setting that there is."""
    crops = tuple(f"{_crops(k)}{seen}" for k in (*_several(records), 1) for seen in (", translator", ""))
    columns = [
        Column("avc_bin_4", "", "AVC-Bin", "avc-bin", "accuracy", crops),
        Column("avsa_bin_4", "", "AVSA-Bin", "avsa-bin", "accuracy", crops),
        Column("miou_image", "", "mIoU", "segmentation", "miou_image", tuple(reversed(INPUTS))),
        Column("ucf101_clip", "", "UCF-101", "ucf101-1", "clip_top1", ("fine-tuned",)),
    ]
    lines = [
        Line(
            (line["pretext"], *([line["or"]] if "or" in line and line.get("heard", heard) == heard else [])),
            "",
            str(line["name"]),
            group=line["group"],
            paper=_figures(line, columns),
        )
        for line in paper_results()["ablations"]
    ]
    return fill("ablations", columns, lines, records)


def _by_pretext(
    name: str,
    columns: Sequence[Column],
    row_settings: dict[str, str],
    pretexts: Iterable[str],
    records: Sequence[Record],
    names: dict[str, tuple[str, str]] | None = None,
) -> Table:
    """Rows by checkpoint and setting: the first setting always, others where the paper or we have a figure."""
    printed = {(line["pretext"], line.get("setting", "")): line for line in paper_results()[name]}
    measured = {
        _row(record.pretext, setting)
        for record in records
        for setting in row_settings
        for column in columns
        if record.task in (column.task, *column.folds)
        and record.metric == column.metric
        and record.setting in settings(column, setting)
    }
    lines = []
    wanted = [*(_row(pretext, "")[0] for pretext in pretexts), *sorted(pretext for pretext, _ in measured)]
    for pretext in dict.fromkeys([*(known for known in NAMES if known in wanted), *wanted]):
        title, note = (NAMES | (names or {})).get(pretext, (pretext, ""))
        for setting, label in row_settings.items():
            if setting == next(iter(row_settings)) or (pretext, setting) in {*printed, *measured}:
                paper = _figures(printed.get((pretext, setting), {}), columns)
                lines.append(Line(*_source(pretext, setting), title, note, label, paper=paper))
    return fill(name, columns, lines, records)


def _row(pretext: str, setting: str) -> tuple[str, str]:
    """The row that figures belong into: training end to end from random weights is the paper's upper bound."""
    if (pretext, setting) == ("untrained", "end-to-end"):
        return "end-to-end", "video"
    return "kinetics" if pretext in KINETICS else pretext, setting


def _source(pretext: str, setting: str) -> tuple[tuple[str, ...], str]:
    """The checkpoints, and the setting, whose figures belong into a row: `_row` the other way round."""
    if (pretext, setting) == ("end-to-end", "video"):
        return ("untrained",), "end-to-end"
    return KINETICS if pretext == "kinetics" else (pretext,), setting


def _figures(line: dict[str, Any], columns: Sequence[Column]) -> dict[str, float]:
    return {column.key: float(line[column.key]) for column in columns if column.key in line}


def _printed(name: str) -> list[str]:
    return list(dict.fromkeys(line["pretext"] for line in paper_results()[name]))


def _several(records: Sequence[Record]) -> list[int]:
    """4, as in the paper, then the other numbers of crops above 1 that were measured, from the largest."""
    measured = {int(match[1]) for record in records if (match := _CROPS.match(record.setting))}
    return [4, *sorted(measured - {1, 4}, reverse=True)]


def _crops(count: int) -> str:
    return f"{count} crop{'s' * (count > 1)}"
