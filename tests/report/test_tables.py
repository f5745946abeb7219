"""Table 2: the paper's figures in the right cells, ours beside them, nothing where nothing was measured."""

from __future__ import annotations

import pytest
from made_records import record

from avsa.report.tables import Cell, Table, binary_table, paper_results, parse_setting

# Printed in the paper's table 2: (AVC-Bin 1 and 4 crops, AVSA-Bin 1 and 4 crops) per pretext and use of translators.
PRINTED = {
    ("avc", False): (79.82, 82.68, 59.48, 59.25),
    ("avc", True): (None, 83.87, None, 61.20),
    ("avts", False): (80.08, 82.77, 59.78, 60.37),
    ("avts", True): (None, 83.77, None, 60.73),
    ("avsa", False): (86.19, 91.67, 64.97, 68.87),
    ("avsa", True): (None, 89.83, None, 69.97),
}


def cells(table: Table) -> dict[tuple[str, bool, str, int], Cell]:
    return {(row.pretext, row.translator, *column): cell for row in table.rows for column, cell in row.cells.items()}


def test_without_measurements_the_table_is_the_papers_with_two_rows_more() -> None:
    table = binary_table([])
    assert table.columns == (("avc-bin", 1), ("avc-bin", 4), ("avsa-bin", 1), ("avsa-bin", 4))
    printed = {(row.pretext, row.translator): tuple(c.paper for c in row.cells.values()) for row in table.rows}
    nothing = (None,) * 4
    assert printed == PRINTED | {("untrained", False): nothing, ("avc-long", False): nothing}
    assert [row.pretext for row in table.rows if not row.translator] == ["untrained", "avc", "avc-long", "avts", "avsa"]
    assert all(not cell.records and cell.mean is None for cell in cells(table).values())


def test_a_measurement_fills_its_own_cell_only() -> None:
    measured = record("avsa", "avsa-bin", "4 crops, translator", 71.5)
    found = cells(binary_table([measured]))
    assert {key for key, cell in found.items() if cell.records} == {("avsa", True, "avsa-bin", 4)}
    cell = found["avsa", True, "avsa-bin", 4]
    assert (cell.paper, cell.mean, cell.records) == (69.97, 71.5, (measured,))


def test_seeds_stand_in_order_and_are_averaged() -> None:
    records = [record("avc", "avc-bin", "1 crop", value, seed) for seed, value in ((2, 70.0), (0, 60.0), (1, 59.0))]
    table = binary_table(records)
    cell = cells(table)["avc", False, "avc-bin", 1]
    assert [r.seed for r in cell.records] == [0, 1, 2]
    assert cell.mean == pytest.approx(63.0)
    assert table.several_seeds
    assert not binary_table(records[:1]).several_seeds


def test_what_the_paper_does_not_have_gets_rows_and_columns() -> None:
    odd = record("hard-only", "avsa-bin", "8 crops", 66.0)
    other = record("avsa", "segmentation", "video+audio", 35.0)
    table = binary_table([odd, other], ["mine"])
    assert table.columns[:3] == (("avc-bin", 1), ("avc-bin", 4), ("avc-bin", 8))
    assert [row.pretext for row in table.rows][-2:] == ["mine", "hard-only"]
    found = cells(table)
    assert found["hard-only", False, "avsa-bin", 8].records == (odd,)
    assert sum(len(cell.records) for cell in found.values()) == 1


def test_settings() -> None:
    assert parse_setting("1 crop") == (1, False)
    assert parse_setting("4 crops, translator") == (4, True)
    assert parse_setting("video+audio") is None


def test_all_tables_of_the_paper_are_there() -> None:
    results = paper_results()
    assert {name: len(lines) for name, lines in results.items()} == {
        "binary": 6,
        "segmentation": 17,
        "action": 5,
        "ablations": 5,
    }
