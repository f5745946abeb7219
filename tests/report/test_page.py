"""The page: every figure in its row, nothing from elsewhere, and only what was chosen and measured."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_records import record
from PIL import Image

from avsa.acquire.synth.dataset import render_scene
from avsa.clips.ingest import ingest
from avsa.config import Config
from avsa.report.notes import notes
from avsa.report.page import MAX_WIDTH, Figure, Page, Section, render
from avsa.report.records import Record, write_records
from avsa.report.tables import paper_tables
from avsa.resolve import Resolved
from avsa.stages import paths, report


class Rows(HTMLParser):
    """Text of the table's cells by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.row = ""
        self.cells: dict[str, list[str]] = {}
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.sources += [str(found[name]) for name in ("src", "href", "srcset") if name in found]
        if tag == "tr":
            self.row = found.get("data-row") or ""
        if tag == "td" and self.row:
            self.cells.setdefault(self.row, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.row = ""

    def handle_data(self, data: str) -> None:
        if self.row and self.row in self.cells:
            self.cells[self.row][-1] += f" {data}"


def page(records: list[Record], **more: Any) -> str:
    sections = {table.name: Section(table) for table in paper_tables(records)}
    return render(Page(**{"facts": [("Data", "a < b")], "sections": sections, "notes": []} | more))


def test_every_figure_stands_in_its_row_and_column() -> None:
    columns = list(product(("avc-bin", "avsa-bin"), ("1 crop", "4 crops")))
    records = [
        record(pretext, task, setting, 50 + 10 * p + c + 0.25 * seed + 0.01, seed)
        for p, pretext in enumerate(("untrained", "avc-long", "avsa"))
        for c, (task, setting) in enumerate(columns)
        for seed in range(3)
    ] + [record("avsa", "avsa-bin", "4 crops, translator", 77.13)]
    cells = Rows(page(records)).cells
    for r in records:
        row = f"binary {r.pretext}" + " translator" * ("translator" in r.setting)
        text = cells[row][columns.index((r.task, r.setting.split(",")[0]))]
        assert f"{r.value:.2f}" in text
        assert f"{r.ci95[0]:.1f}–{r.ci95[1]:.1f}" in text
    assert cells["binary avc-long"][1].split()[:2] == [
        "82.68",
        "61.26",
    ]  # the paper, then our mean
    assert cells["binary avc-long translator"][1].split() == ["83.87"]
    assert [text.strip() for text in cells["binary avts"]] == ["80.08", "82.77", "59.78", "60.37"]
    assert cells["binary avsa translator"][3].split() == ["69.97", "77.13", "75.7–78.7"]
    assert cells["ablations Viewpoints/4"][1].split() == ["69.97", "77.13", "75.7–78.7"]
    assert cells["ablations Curriculum/easy only"][0].split() == [
        *("83.87", "61.26", "61.01", "·", "61.26", "·", "61.51", "4", "crops")
    ]


def test_other_tasks_have_their_figures_too() -> None:
    splits = [record("avsa", f"ucf101-{fold}", "fine-tuned", 40.0 + fold, metric="clip_top1") for fold in (1, 2, 3)]
    image = record("avsa", "segmentation", "video+audio", 33.0, metric="miou_image")
    cells = Rows(page([*splits, image])).cells
    assert cells["action avsa"][0].split() == ["68.52", "41.00", "39.6–42.6", "splits", "1–3:", "42.00"]
    assert [text.split() for text in cells["segmentation avsa video+audio"]] == [
        ["73.11"],
        ["34.63", "33.00", "31.6–34.6"],
        [],
    ]


def test_only_what_was_measured_lies_open() -> None:
    html = page([record("avsa", "ucf101-1", "fine-tuned", 41.0, metric="clip_top1", dataset="motion")])
    opened, closed = (
        re.sub(r"<details.*?</details>", "", html, flags=re.DOTALL),
        re.findall(r"<details.*?</details>", html, re.DOTALL),
    )
    assert re.findall(r"<h2>(.*?)</h2>", opened) == ["Action recognition", "Ablations", "What the figures mean"]
    assert "measured on motion" in opened
    assert [re.findall(r"<h2>(.*?)</h2>", part) for part in closed] == [["Binary tasks"], ["Semantic segmentation"]]
    assert "<code>segmentation</code>" in closed[1]
    assert "35.11" in closed[1]


def test_figures_of_no_table_are_listed() -> None:
    html = page([], others=[record("mine", "avc-bin", "4 crops, <own>", 61.27, metric="crop_accuracy")])
    listed = html[html.index("Figures of other settings") :]
    for text in ("mine", "AVC-Bin", "4 crops, &lt;own&gt;", "crop_accuracy", "61.27", "59.9–62.9"):
        assert text in listed


@pytest.mark.parametrize(("width", "kept"), [(2 * MAX_WIDTH, MAX_WIDTH), (300, 300)])
def test_the_page_is_one_file(tmp_path: Path, width: int, kept: int) -> None:
    pixels = np.zeros((200, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = (200, 40, 40), (20, 60, 220)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    html = Rows(page([], curves=[Figure(tmp_path / "a.png", "<loss>")]))
    assert not html.tags & {"script", "link", "iframe", "loss"}
    assert "@import" not in page([])
    (source,) = html.sources
    start, _, data = source.partition(",")
    assert start == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    assert shown.shape == (200 * kept // width, kept, 3)
    assert np.abs(shown[50, kept // 4] - (200, 40, 40)).max() < 12
    assert np.abs(shown[50, 3 * kept // 4] - (20, 60, 220)).max() < 12


def test_notes_say_what_is_missing() -> None:
    chosen = {"seeds": [0, 1], "checkpoints": ["avc", "avc-long"], "tasks": ["avc-bin", "ucf101-2"]}
    config = Config.model_validate({"pipeline": chosen})
    records = [record("avc", task, "1 crop", 80.0, seed) for seed in (0, 1) for task in ("avc-bin", "ucf101-2")]
    records += [record("avc-long", "avc-bin", "1 crop", 81.0, 1)]
    text = "\n".join(notes(config, records))
    assert "there: AVC on AVC-Bin (seed 0); AVC on UCF-101, split 2 (seeds 0, 1)." in text
    assert "one seed" not in text
    assert "clusters" in text


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A project folder with two small clips and some results, and a tracking store that keeps nothing."""
    monkeypatch.chdir(tmp_path)
    runs = {"avc": [{"objective": "avc", "epochs": 2, "batch": 1, "crops": 1}]}
    config = Config.model_validate(
        {
            "pipeline": {
                "seeds": [0, 1],
                "checkpoints": ["untrained", "avc"],
                "tasks": ["avc-bin", "avsa-bin"],
                "also": ["other"],
            },
            "synth": {"height": 64, "fps": 8, "sample_rate": 8000, "duration_s": 1.5},
            "clips": {"height": 64, "fps": 8, "sample_rate": 8000, "clip_s": 1.5},
            "views": {"frames": 4, "size": 32, "crops": 3},
            "audio": {"mels": 16, "window": 256, "hop": 160},
            "pretrain": {"runs": runs},
        }
    )
    for split in ("train", "test"):
        folder = paths.raw(config) / split
        folder.mkdir(parents=True)
        render_scene(config.synth, split, 0, folder)
    ingest(paths.raw(config), paths.clips(config), config.clips, jobs=1)

    @contextmanager
    def untracked(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(run_id="r", artifact=kept.append)

    kept: list[Path] = []
    monkeypatch.setattr(report, "stage_run", untracked)
    monkeypatch.setattr(report, "code_version", lambda: {"git.commit": "0123456789abcdef", "git.dirty": "True"})
    return config


def test_the_stage_reports_what_the_configuration_names(project: Config) -> None:
    wanted = [record("avc", "avsa-bin", "3 crops", 61.07, seed) for seed in (0, 1)]
    beside = record("other", "segmentation", "video", 33.21, 1, "miou_image")
    for made in [
        *wanted,
        beside,
        record("avc", "avsa-bin", "3 crops", 99.99, seed=7),
        record("avc", "segmentation", "video", 99.98, metric="miou_image"),
        record("old", "avc-bin", "1 crop", 98.76),
    ]:
        write_records(paths.results(made.pretext, made.task, made.seed), [made])
    drawn = paths.evaluation("other", "segmentation", 0)
    drawn.mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(drawn / "segments.png")
    (drawn / "classes.csv").write_text("class,kind,pixels,video\nyodelling,thing,9.0,47.25\n")
    trained = paths.checkpoint("avc", 1)
    trained.mkdir(parents=True)
    (trained / "run.json").write_text(json.dumps({"run_id": "f00d", "tracking_uri": "sqlite:///x"}))
    (trained / "curve.csv").write_text("step,train/loss,val/within_clip_v2a\n1,2.0,\n2,1.5,0.4\n")
    paths.PICTURES.mkdir(parents=True)
    (paths.PICTURES / "stale.png").write_bytes(b"")

    report.run_report(Resolved(project, {}))

    assert json.loads(paths.RESULTS.read_text()) == [made.model_dump(mode="json") for made in [*wanted, beside]]
    assert json.loads(paths.METRICS.read_text()) == {
        "avsa-bin": {"avc": {"3 crops": {"accuracy": 61.07}}},
        "segmentation": {"other": {"video": {"miou_image": 33.21}}},
    }
    names = sorted(path.name for path in paths.PICTURES.iterdir())
    crops = [f"clip-1-crop-{k}.png" for k in (1, 2, 3)]
    assert names == ["avsa-bin.png", *crops, "clip-1-panorama.png", "clip-1-sound.png", "loss.png", "power-1.png",
                     "segmentation.png", "within-clip.png"]  # fmt: skip
    html = paths.PAGE.read_text(encoding="utf-8")
    assert html.count("data:image/webp;base64,") == len(names) + 1
    for text in (
        "61.07",
        "59.7–62.7",
        "synth360: 1 train, 1 test clips of 1.5 s",
        "0123456789ab with uncommitted",
        "f00d",
        "Pictures: other on Segmentation, seed 0",
        '<th scope="row">yodelling</th><td>9.0</td><td>47.2</td>',
    ):
        assert text in html
    assert "99.99" not in html
    assert "99.98" not in html
    assert "98.76" not in html
    assert re.search(r"AVC.*2 epochs of avc, 1 clips × 1 crop a step.*>4<", html, re.DOTALL)  # 1 clip × 2 examples × 2
