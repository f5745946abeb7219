"""Training curves as the tracking store holds them: some cells are empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsa.errors import UserError
from avsa.report.curves import loss_plot, read_curve, within_clip_plot

CURVE = """step,train/accuracy_v2a,train/loss,train/within_clip_v2a,val/loss,val/within_clip_a2v,val/within_clip_v2a
10,0.1,4.5,0.2,,,
20,0.2,4.0,0.3,4.2,0.30,0.20
30,,3.5,,,,
40,0.2,3.0,0.9,3.9,0.5,0.6
"""


def test_loss_is_of_training_and_within_clip_of_held_out_clips(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(CURVE)
    curve = read_curve(path, "avsa", 3)
    assert curve.loss == ((10, 20, 30, 40), (4.5, 4.0, 3.5, 3.0))
    steps, values = curve.within_clip
    assert steps == (20, 40)
    assert values == pytest.approx((25.0, 55.0))


def test_nothing_recorded_is_no_plot(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("step,loss\n1,2.0\n2,1.5\n")
    curve = read_curve(path, "avc", 0)
    assert within_clip_plot([curve], 4, tmp_path / "within.png") is None
    assert loss_plot([curve], tmp_path / "loss.png") == tmp_path / "loss.png"
    assert loss_plot([], tmp_path / "none.png") is None
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["loss.png"]


def test_a_damaged_curve_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("step,loss\n1,oops\n")
    with pytest.raises(UserError, match=r"curve\.csv: not a training curve"):
        read_curve(path, "avc", 0)
