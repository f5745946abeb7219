"""`avsa segment` as a user meets it: between synth and ingest, with a network of the project's own."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import avsa
from PIL import Image

from avsa.clips.label_maps import count_maps, decode_map, read_map
from avsa.clips.store import ClipStore

PARAMS = """
dataset: tiny
synth: {train: 2, val: 0, test: 0, duration_s: 1.0, height: 64, fps: 8, sample_rate: 8000, places: 2}
clips: {clip_s: 1.0, height: 64, fps: 8, sample_rate: 8000}
views: {frames: 4}
segment: {model: "networks:brightness", size: 32, confidence: 0.6}
engine: {device: cpu, threads: 1}
"""
NETWORK = """
import torch
class Brightness(torch.nn.Module):
    classes = {"things": ["bright"], "stuff": ["dark"]}
    def forward(self, views):
        grey = 5 * views.mean(1)
        return torch.stack((grey, -grey), 1)
def brightness():
    return Brightness()
"""


def test_from_recordings_to_the_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "networks.py").write_text(NETWORK)
    raw = tmp_path / "data" / "raw" / "tiny"

    def complaint(*arguments: str) -> str:
        capfd.readouterr()
        assert avsa(tmp_path, "segment", "--jobs", "1", *arguments) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    assert "no folder of recordings at data/raw/tiny: check the path, or make the data first" in complaint()
    assert avsa(tmp_path, "synth", "--jobs", "1") == 0
    assert "segment.model nosuch: no such file, nor a network of torchvision" in complaint(
        "--set", "segment.model=nosuch"
    )
    assert "holds label maps of other classes than the model's (classes.json): --overwrite removes" in complaint()
    before = {path.name: path.read_bytes() for path in raw.rglob("*.segm.png")}

    assert avsa(tmp_path, "segment", "--jobs", "1", "--output", "elsewhere") == 0
    assert {path.name: path.read_bytes() for path in raw.rglob("*.segm.png")} == before
    (raw / "train" / "broken.mp4").write_bytes(b"nothing")
    assert avsa(tmp_path, "segment", "--jobs", "1", "--overwrite") == 0
    assert "1 of 3 recordings have no label maps: see data/raw/tiny/unsegmented.jsonl" in capfd.readouterr().err
    made = {path.name: path.read_bytes() for path in raw.rglob("*.segm.png")}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*.segm.png")}
    assert made.keys() == before.keys()

    assert avsa(tmp_path, "ingest", "--jobs", "1") == 0
    store = ClipStore(tmp_path / "data" / "clips" / "tiny")
    assert json.loads((tmp_path / "data" / "clips" / "tiny" / "classes.json").read_text()) == {
        "things": ["bright"],
        "stuff": ["dark"],
    }
    for clip in store:
        stored = store.read(clip, "segm.png")
        stack = np.concatenate([read_map(stored, index) for index in range(count_maps(stored))])
        assert np.array_equal(stack, decode_map(made[f"{Path(clip.source).stem}.segm.png"]))
    for content in made.values():
        maps = np.asarray(Image.open(io.BytesIO(content)))
        assert maps.shape == (4 * 64, 128)
        assert set(np.unique(maps)) == {0, 1, 255}
