"""`make yt360`: what it runs, and the same from a server on this machine in place of YouTube."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import avsa

from avsa.clips.store import ClipStore
from avsa.config import Clips, Config
from avsa.data.statistics import Statistics
from avsa.resolve import resolve

ROOT = Path(__file__).parents[1]
IDS = {"train": ("aaaaaaaaaa0", "bbbbbbbbbb4"), "test": ("cccccccccc8",)}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def commands(*arguments: str) -> list[list[str]]:
    """What make would run."""
    make = ["make", "--no-print-directory", "-n", "-o", ".venv/installed", "yt360", *arguments]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_what_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, videos, the stages up to the statistics with the overlay, every byte of the store."""
    lists, download, run, verify, _ = commands()
    assert lists == [".venv/bin/dvc", "--cd", "data/lists", "pull"]
    assert download == [".venv/bin/avsa", "download", "--params", "configs/yt360.yaml"]
    assert run[:3] == [".venv/bin/dvc", "exp", "run"]
    assert run[-1] == "stats"
    chosen = dict(item.split("=") for item in run[4:-1:2])
    assert verify == [".venv/bin/avsa", "verify", f"data/clips/{chosen['dataset']}"]
    monkeypatch.chdir(ROOT)
    assert resolve(overrides=[f"{key}={value}" for key, value in chosen.items()]).config.dataset == "yt360"
    assert chosen["base"] == "configs/yt360.yaml"
    assert commands("LIMIT=20")[1][-2:] == ["--limit", "20"]
    assert commands("MAPS=1")[2] == [".venv/bin/avsa", "segment", "--params", "configs/yt360.yaml"]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_page_says_the_same() -> None:
    page = (ROOT / "docs/yt360.md").read_text(encoding="utf-8")
    first, second, *_ = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert shlex.split(first, comments=True) == ["make", "yt360"]
    written = [shlex.split(line, comments=True) for line in second.splitlines()]
    run = [[command[0].removeprefix(".venv/bin/"), *command[1:]] for command in commands()[:-1]]
    assert written == run


def test_what_it_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's values, by the file alone and as the base of what params.yaml chooses."""
    monkeypatch.chdir(ROOT)
    alone = resolve(Path("configs/yt360.yaml")).config
    assert alone.dataset == "yt360"
    assert alone.clips == Clips()
    assert alone.pretrain == Config().pretrain
    assert alone.evaluate.segmentation.classes == "data/lists/yt360/segmentation-filtered-class-idx.txt"
    assert (ROOT / f"{alone.evaluate.segmentation.classes}.dvc").is_file()
    chosen = resolve(overrides=["base=configs/yt360.yaml", "dataset=yt360"]).config
    for section in ("clips", "views", "audio", "model", "evaluate", "download"):
        assert getattr(chosen, section) == getattr(alone, section), section


def test_lists_are_what_the_clips_depend_on() -> None:
    assert "data/lists" in STAGES["ingest"]["deps"]
    assert (ROOT / "data/lists/yt360").is_dir()


def module(path: Path) -> Any:
    """Of another folder's tests."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_from_a_server_to_statistics(tmp_path: Path) -> None:
    """Its verbs in a project of their own: two listed clips of each video that is there, and one that is gone."""
    media = module(ROOT / "tests/clips/clips_media.py")
    served, lists = tmp_path / "served", tmp_path / "data/lists/yt360"
    lists.mkdir(parents=True)
    for number, (split, name) in enumerate((split, name) for split, names in IDS.items() for name in names):
        film, sound = media.panorama(64), media.field(4, seed=number)
        media.Writer(served / split / f"{name}.mkv").add(film, sound, audio="flac", layout="quad")
    (served / "behaviour.json").write_text("{}")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for split, names in IDS.items():
        (lists / f"{split}.txt").write_text("\n".join([*names, "gone_gone_0"] if split == "train" else names) + "\n")
    everything = [name for names in IDS.values() for name in names]
    (lists / "segments.txt").write_text("".join(f"{name} 0,2\n" for name in [*everything, "gone_gone_0"]))
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/acquire/download_server.py"), str(served)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        port = int(server.stdout.readline())
        own: dict[str, Any] = {"base": "configs/yt360.yaml", "dataset": "yt360"}  # as make has it chosen, and small
        own |= {"download": {"address": f"http://127.0.0.1:{port}/{{split}}/{{id}}.mkv", "interval_s": 0}}
        own |= {"clips": {"clip_s": 2.0, "height": 64}}
        (tmp_path / "params.yaml").write_text(json.dumps(own))
        assert avsa(tmp_path, "download") == 0
    finally:
        server.kill()
        server.wait()
    assert avsa(tmp_path, "ingest", "--jobs", "1") == 0
    assert avsa(tmp_path, "stats", "--jobs", "1") == 0
    assert avsa(tmp_path, "verify", "data/clips/yt360", "--jobs", "1") == 0
    store = ClipStore(tmp_path / "data/clips/yt360")
    assert sorted(clip.id for clip in store) == sorted(f"{name}-{start}" for name in everything for start in (0, 2))
    assert store.splits == {"train": 4, "test": 2}
    assert all(clip.checks["checksum"] == 1 for clip in store)  # the download's
    missing = (tmp_path / "data/raw/yt360/missing.tsv").read_text().splitlines()
    assert [line.split("\t")[:4] for line in missing[1:]] == [["gone_gone_0", "train", "gone", "2"]]
    statistics = Statistics.load(tmp_path / "data/statistics/yt360.npz")
    assert np.isfinite(statistics.mean_CM).all()
