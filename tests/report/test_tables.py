"""The paper's four tables: its figures in the right cells, ours beside them, nothing where nothing was measured."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
from made_records import record

from avsa.report.forest import forest_plot
from avsa.report.records import Record
from avsa.report.table import Cell, Table
from avsa.report.tables import ablation_table, action_table, binary_table, paper_tables, segmentation_table

# Printed in table 2: (AVC-Bin 1 and 4 crops, AVSA-Bin 1 and 4 crops) by pretext and use of translators.
BINARY = {
    "avc-long": (79.82, 82.68, 59.48, 59.25),
    "avc-long translator": (None, 83.87, None, 61.20),
    "avts": (80.08, 82.77, 59.78, 60.37),
    "avts translator": (None, 83.77, None, 60.73),
    "avsa": (86.19, 91.67, 64.97, 68.87),
    "avsa translator": (None, 89.83, None, 69.97),
}
# Table 3: pixel accuracy, mean IoU.
SEGMENTATION = {
    "avc-long video": (71.16, 32.85),
    "avc-long video+audio": (71.07, 32.69),
    "avts video": (73.24, 34.88),
    "avts video+audio": (72.97, 34.88),
    "avsa video": (73.44, 35.11),
    "avsa video+audio": (73.11, 34.63),
    "avsa video+audio+context": (73.85, 35.83),
    "avsa-nocur video": (71.95, 33.66),
    "avsa-nocur video+audio": (71.49, 33.23),
    "avsa-nocur video+audio+context": (72.06, 34.30),
    "avsa-mlp video": (73.10, 35.02),
    "avsa-mlp video+audio": (73.21, 34.83),
    "avsa-mlp video+audio+context": (72.68, 34.35),
    "kinetics video": (75.47, 36.91),
    "untrained end-to-end": (77.37, 41.05),
    "end-to-end video+audio": (77.93, 42.00),
    "end-to-end video+audio+context": (79.65, 43.21),
}
# Table 4: UCF-101 clip and video, HMDB-51 clip and video.
ACTION = {
    "untrained": (54.85, 59.95, 27.40, 31.10),
    "kinetics": (78.50, 83.43, 46.45, 51.90),
    "avc-long": (64.63, 69.68, 31.33, 34.58),
    "avts": (65.65, 70.34, 32.29, 35.89),
    "avsa": (68.52, 73.80, 32.96, 37.66),
}
# The supplement's table 3: AVC-Bin, AVSA-Bin, mean IoU, UCF-101 clip.
FULL, EASY = (89.83, 69.97, 35.83, 68.52), (83.87, 61.20, 34.05, 64.09)
ABLATIONS = {
    "Audio/mono": (82.39, 62.95, 34.21, 64.90),
    "Audio/stereo": (84.47, 71.11, 34.54, 64.68),
    "Audio/ambisonics": FULL,
    "Viewpoints/1": (84.60, 61.77, 35.37, 64.71),
    "Viewpoints/2": (87.70, 63.71, 36.63, 66.64),
    "Viewpoints/4": FULL,
    "Viewpoints/8": (91.65, 74.64, 34.84, 66.44),
    "Negatives/instance": EASY,
    "Negatives/+ spatial": FULL,
    "Negatives/+ spatial + temporal": (89.65, 72.81, 36.11, 65.77),
    "Curriculum/easy only": EASY,
    "Curriculum/hard only": (93.22, 77.71, 20.97, 59.15),
    "Curriculum/none": (91.93, 71.77, 35.29, 65.49),
    "Curriculum/curriculum": FULL,
    "Translators/none": (91.67, 68.87, 34.50, 65.59),
    "Translators/1 layer": (90.64, 72.95, 35.77, 66.97),
    "Translators/2 layers": FULL,
    "Translators/4 layers": (89.86, 70.09, 35.97, 66.88),
}


def cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {(row.id, key): cell for row in table.rows for key, cell in row.cells.items()}


def filled(table: Table) -> set[tuple[str, str]]:
    return {key for key, cell in cells(table).items() if cell.records}


def test_without_measurements_the_tables_are_the_papers_with_rows_more() -> None:
    printed = [
        {row.id: tuple(cell.paper for cell in row.cells.values()) for row in table.rows} for table in paper_tables([])
    ]
    nothing = (None,) * 4
    assert printed[0] == BINARY | {"untrained": nothing}
    assert printed[1] == {row: (*figures, None) for row, figures in SEGMENTATION.items()} | {
        "untrained video": (None,) * 3
    }
    assert printed[2] == ACTION
    assert printed[3] == ABLATIONS | {"Translators/without context": nothing, "Audio/+ intensity": nothing}
    for table in paper_tables([]):
        assert not table.records
        assert all(cell.mean is None and cell.fold_mean is None for cell in cells(table).values())


def test_rows_stand_in_the_papers_order_with_ours_among_them() -> None:
    measured = record("avc-long", "segmentation", "video", 60.0, metric="miou")
    names = [row.line.name for row in segmentation_table([measured], ["mine"]).rows]
    assert list(dict.fromkeys(names)) == [
        *(
            "Untrained",
            "Kinetics",
            "AVC",
            "AVTS",
            "AVSA",
            "AVSA, no curriculum",
            "AVSA, MLP",
            "End to end",
        ),
        "mine",
    ]
    bound = segmentation_table([]).rows[-3]
    assert (bound.line.name, bound.line.label) == ("End to end", "video")
    assert [row.line.name for row in action_table([]).rows] == ["Scratch", "Kinetics", "AVC", "AVTS", "AVSA"]


@pytest.mark.parametrize(
    ("measured", "table", "places"),
    [
        (record("avsa", "avsa-bin", "4 crops, translator", 71.5), 0, {("avsa translator", "avsa_bin_4")}),
        (record("avsa", "avsa-bin", "1 crop", 71.5), 0, {("avsa", "avsa_bin_1")}),
        (record("odd", "avc-bin", "1 crop", 66.0), 0, {("odd", "avc_bin_1")}),
        (record("avc", "segmentation", "video", 9.0, metric="miou"), 1, {("avc video", "miou")}),
        (
            record("avts", "segmentation", "video+audio+context", 9.0, metric="miou_image"),
            1,
            {("avts video+audio+context", "miou_image")},
        ),
        (
            record("untrained", "segmentation", "end-to-end", 9.0, metric="miou"),
            1,
            {("untrained end-to-end", "miou")},
        ),
        (record("avsa", "segmentation", "end-to-end", 9.0, metric="miou"), 1, {("avsa end-to-end", "miou")}),
        (
            record("avsa", "avc-bin", "4 crops, translator, fine-tuned", 90.0),
            0,
            {("avsa translator, fine-tuned", "avc_bin_4")},
        ),
        (
            record("avsa", "avc-bin", "4 crops, translator (audio)", 90.0),
            0,
            {("avsa translator (audio)", "avc_bin_4")},
        ),
        (record("avsa", "avc-bin", "2 crops, audio only", 50.0), 0, {("avsa audio only", "avc_bin_4")}),
        (
            record("odd", "segmentation", "video+audio", 9.0, metric="pixel_accuracy"),
            1,
            {("odd video+audio", "pixel_accuracy")},
        ),
        (record("untrained", "ucf101-1", "fine-tuned", 9.0, metric="clip_top1"), 2, {("untrained", "ucf101_clip")}),
        (record("odd", "hmdb51-1", "fine-tuned", 9.0, metric="video_top1"), 2, {("odd", "hmdb51_video")}),
        (record("r2plus1d_18", "hmdb51-1", "fine-tuned", 9.0, metric="clip_top1"), 2, {("kinetics", "hmdb51_clip")}),
        (
            record("avsa-mono", "segmentation", "video+audio+context", 9.0, metric="miou_image"),
            3,
            {("Audio/mono", "miou_image")},
        ),
        (
            record("avsa", "ucf101-1", "fine-tuned", 9.0, metric="clip_top1"),
            3,
            {
                (row, "ucf101_clip")
                for row in ("Audio/ambisonics", "Viewpoints/4", "Negatives/+ spatial", "Curriculum/curriculum")
            }
            | {("Translators/2 layers", "ucf101_clip")},
        ),
    ],
)
def test_a_measurement_fills_its_own_cells_only(measured: Record, table: int, places: set[tuple[str, str]]) -> None:
    tables = paper_tables([measured])
    assert filled(tables[table]) == places
    assert {cells(tables[table])[place].records for place in places} == {(measured,)}
    assert table == 3 or {n for n in range(3) if filled(tables[n])} == {table}


def test_every_figure_is_the_mean_over_its_seeds() -> None:
    generator = random.Random(0)
    records = [
        record(pretext, task, setting, round(generator.uniform(20, 90), 2), seed, metric)
        for pretext, seed in product(("untrained", "avc", "avsa", "odd"), (2, 0, 1))
        for task, setting, metric in [
            *product(("avc-bin", "avsa-bin"), ("1 crop", "4 crops", "4 crops, translator"), ("accuracy",)),
            *product(("segmentation",), ("video", "video+audio"), ("pixel_accuracy", "miou", "miou_image")),
            *product(("ucf101-1", "hmdb51-1"), ("fine-tuned",), ("clip_top1", "clip_top5", "video_top1")),
        ]
    ]
    seen = 0
    for table in paper_tables(records)[:3]:
        for row in table.rows:
            for column in table.columns:
                total, count = 0.0, 0
                for r in records:
                    own = ", ".join(s for s in (column.settings[0], row.line.setting) if s)
                    wanted = (row.line.pretexts[0], column.task, column.metric, own)
                    if (r.pretext, r.task, r.metric, r.setting) == wanted:
                        total += r.value
                        count += 1
                cell = row.cells[column.key]
                assert [r.seed for r in cell.records] == [0, 1, 2][:count]
                assert cell.mean == (pytest.approx(total / count) if count else None)
                seen += count
        assert table.several_seeds
    assert seen == sum(r.metric != "clip_top5" for r in records)


def test_splits_are_averaged_beside_the_first() -> None:
    values = {(1, 0): 50.0, (1, 1): 60.0, (2, 0): 70.0, (3, 0): 20.0, (3, 1): 24.0}
    made = {
        key: record("avsa", f"ucf101-{key[0]}", "fine-tuned", value, key[1], "clip_top1")
        for key, value in values.items()
    }
    cell = cells(action_table(list(made.values())))["avsa", "ucf101_clip"]
    assert cell.records == (made[1, 0], made[1, 1])
    assert cell.mean == 55.0
    assert cell.fold_mean == ("1–3", (55 + 70 + 22) / 3)
    without_third = action_table([r for (fold, _), r in made.items() if fold < 3])
    assert cells(without_third)["avsa", "ucf101_clip"].fold_mean == ("1 and 2", 62.5)
    second = cells(action_table([made[2, 0]]))["avsa", "ucf101_clip"]
    assert (second.records, second.mean, second.fold_mean) == ((), None, ("2", 70.0))
    assert cells(action_table([made[1, 0]]))["avsa", "ucf101_clip"].fold_mean is None


def test_what_is_not_what_the_heading_says_is_named() -> None:
    wide = [
        record("avsa-views-8", "avc-bin", setting, 80.0) for setting in ("1 crop", "8 crops", "8 crops, translator")
    ]
    found = cells(binary_table(wide))
    assert found["avsa-views-8", "avc_bin_1"].other == ""
    assert found["avsa-views-8", "avc_bin_4"].other == "8 crops"
    assert found["avsa-views-8 translator", "avc_bin_4"].records == (wide[2],)
    ablation = cells(ablation_table(wide))["Viewpoints/8", "avc_bin_4"]
    assert (ablation.records, ablation.other) == ((wide[2],), "8 crops, translator")
    both = [record("avc-long", "avsa-bin", "4 crops", 51.0), record("avc", "avsa-bin", "4 crops, translator", 52.0)]
    easy = cells(ablation_table(both))["Curriculum/easy only", "avsa_bin_4"]
    assert (easy.records, easy.other) == ((both[0],), "4 crops")
    short = cells(ablation_table(both[1:]))["Curriculum/easy only", "avsa_bin_4"]
    assert (short.records, short.other) == ((both[1],), "avc")


def test_avsa_is_the_row_of_what_it_hears() -> None:
    measured = [record("avsa", "avc-bin", "4 crops, translator", 80.0), record("avsa-foa", "avc-bin", "4 crops", 81.0)]
    found = {
        heard: {
            row.removeprefix("Audio/"): (cell.mean, cell.other)
            for (row, key), cell in cells(ablation_table(records, heard)).items()
            if row.startswith("Audio/") and key == "avc_bin_4" and cell.records
        }
        for heard, records in (("ambisonics", measured[:1]), ("ambisonics+intensity", measured), ("mono", measured[:1]))
    }
    assert found == {
        "ambisonics": {"ambisonics": (80.0, "avsa")},
        "ambisonics+intensity": {"ambisonics": (81.0, "4 crops"), "+ intensity": (80.0, "avsa")},
        "mono": {},
    }


def test_other_settings_have_no_cell() -> None:
    others = [
        record("avsa", "avc-bin", "4 crops, in the dark", 90.0),
        record("avsa", "avc-bin", "4 crops", 90.0, metric="accuracy_crop"),
        record("avsa", "ucf101-1", "fine-tuned", 90.0, metric="clip_top5"),
        record("avsa", "ucf101-1", "frozen", 90.0, metric="clip_top1"),
        record("avsa", "counting", "video", 90.0, metric="miou"),
    ]
    assert not any(filled(table) for table in paper_tables(others))


def test_the_forest_plot_shows_what_was_measured(tmp_path: Path) -> None:
    table = binary_table([record("avsa", "avsa-bin", "4 crops", 81.0, seed) for seed in range(3)])
    plotted = {column.key: forest_plot(table, column, tmp_path / f"{column.key}.png") for column in table.columns}
    assert [key for key, path in plotted.items() if path and path.stat().st_size > 0] == ["avsa_bin_4"]
