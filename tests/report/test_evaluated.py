"""What evaluations leave: figures by class joined over checkpoints and seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsa.errors import UserError
from avsa.report.evaluated import class_table


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["class,kind,pixels,video,video+audio", *lines]) + "\n")
    return path


def test_classes_are_joined_by_name_and_averaged_over_seeds(tmp_path: Path) -> None:
    files = {
        "avsa": [
            written(
                tmp_path / "0.csv", "drum,thing,12.5,40.00,1.00", "sky,stuff,80.0,,1.00", "bell,thing,7.5,10.00,1.00"
            ),
            written(tmp_path / "1.csv", "drum,thing,13.5,50.00,1.00", "sky,stuff,79.0,90.00,", "bell,thing,7.5,,1.00"),
        ],
        "gone": [tmp_path / "not there.csv"],
        "avts": [written(tmp_path / "2.csv", "sky,stuff,80.0,20.00,1.00", "drum,thing,12.5,,1.00", "whale,thing,0,,")],
    }
    table = class_table(files, share="pixels", what="video")
    assert table is not None
    assert table.columns == ["pixels", "avsa", "avts"]
    assert table.rows == [
        ("drum", [12.5, 45.0, None]),
        ("sky", [80.0, 90.0, 20.0]),
        ("bell", [7.5, 10.0, None]),
        ("whale", [None, None, None]),
    ]
    assert class_table({"gone": files["gone"]}, share="pixels", what="video") is None
    assert class_table(files, share="pixels", what="depth") is None


@pytest.mark.parametrize("text", ["name,video\ndrum,1\n", "class,video\ndrum,many\n", "class,video\ndrum,1,2\n"])
def test_another_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"classes\.csv: no table by class"):
        class_table({"avsa": [path]}, share="pixels", what="video")
