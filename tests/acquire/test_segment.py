"""The whole way from videos to label maps with a network that is always right; kills, crashes and bad input."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from oracle import CLASSES, COLOURS, Oracle, regions, turn_at, write_torchscript, write_video, write_world
from PIL import Image
from torch import Tensor

from avsa.acquire.labeller import Labeller
from avsa.acquire.segment import segment
from avsa.config import Segment
from avsa.errors import UserError

HEIGHT, SIZE = 48, 48
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_torchscript(tmp_path_factory.mktemp("model"), Oracle(), SIZE)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(4):
        write_world(folder / "train" / f"r{number}.mp4", maps=2)
    write_world(folder / "test" / "t.long.name.mp4", maps=3)
    (folder / "train" / "r1.json").write_text('{"id": "r1", "time_s": [0.0, 0.5]}')
    return folder


def settings(model: Path | str, **changes: object) -> Segment:
    return Segment.model_validate({"model": str(model), "size": SIZE, "overlap": 0.1, "batch": 20, **changes})


def read(path: Path) -> npt.NDArray[np.uint8]:
    """T×H×W"""
    return np.asarray(Image.open(path)).reshape(-1, HEIGHT, 2 * HEIGHT)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.suffix in (".png", ".json")
    }


def test_the_truth_comes_back(raw: Path, model: Path, tmp_path: Path) -> None:
    """Maps of another size than the video, at their times, right wherever no border is near: seam and poles too."""
    summary = segment(raw, tmp_path, settings(model), HEIGHT, jobs=1)
    assert (summary.recordings, summary.resumed, summary.maps, summary.refused) == (5, 0, 11, [])
    found_THW = read(tmp_path / "test" / "t.long.name.segm.png")
    assert len(found_THW) == 3
    for number, found_HW in enumerate(found_THW):
        truth_HW, clear_HW = regions(HEIGHT, turn_at(number))
        assert clear_HW.mean() > 0.5
        assert len({*truth_HW[0], *truth_HW[-1]}) > 1
        right_HW = found_HW == truth_HW
        assert right_HW[clear_HW].mean() >= 0.99
        for part in (np.s_[:, :2], np.s_[:, -2:], np.s_[:2], np.s_[-2:]):  # seam and poles
            assert right_HW[part][clear_HW[part]].mean() >= 0.99
        assert (right_HW | (found_HW == 255)).mean() > 0.97  # near borders it is unsure rather than wrong
        assert 0 < (found_HW == 255).mean() < 0.2
    everything = np.concatenate([read(path) for path in tmp_path.rglob("*.segm.png")])
    assert summary.ignored == pytest.approx((everything == 255).mean())
    assert json.loads((tmp_path / "classes.json").read_text()) == CLASSES
    assert json.loads((tmp_path / "train/r1.json").read_text()) == {"id": "r1", "time_s": [0.0, 0.5], "label_fps": 4.0}
    assert json.loads((tmp_path / "train/r0.json").read_text()) == {"label_fps": 4.0}
    assert not files(raw).keys() - {"train/r1.json"}


def test_the_batch_changes_nothing(model: Path) -> None:
    ids = np.stack([regions(96, turn)[0] for turn in (0.0, 1.0, 2.0)])
    video_TCHW = torch.from_numpy(np.array(COLOURS, np.uint8)[ids]).permute(0, 3, 1, 2)
    maps = [Labeller(settings(model, batch=batch), HEIGHT, "cpu").maps(video_TCHW) for batch in (1, 7, 200)]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


def test_what_is_uncertain_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is right with 70 % confidence where the picture is dark and with 80 % where it is bright."""

    def confidences(views_N3hw: Tensor) -> Tensor:
        right_N1hw = torch.where(views_N3hw[:, :1] < 128, 0.7, 0.8)
        return torch.cat([(1 - right_N1hw) / 4] * 2 + [right_N1hw] + [(1 - right_N1hw) / 4] * 2, 1)

    monkeypatch.chdir(HERE)
    panorama_1CHW = torch.full((1, 3, HEIGHT, 2 * HEIGHT), 50, dtype=torch.uint8)
    panorama_1CHW[..., :HEIGHT] = 200
    for threshold, expected in {0.65: {2}, 0.75: {2, 255}, 0.85: {255}}.items():
        labeller = Labeller(settings("oracle:Oracle", confidence=threshold), HEIGHT, "cpu")
        monkeypatch.setattr(type(labeller.segmenter), "confidences", lambda _, views: confidences(views))
        map_HW = labeller.maps(panorama_1CHW)[0]
        monkeypatch.undo()
        monkeypatch.chdir(HERE)
        assert set(map_HW.unique().tolist()) == expected
        if len(expected) == 2:
            assert bool((map_HW[:, 3 : HEIGHT - 3] == 2).all())
            assert bool((map_HW[:, HEIGHT + 3 : -3] == 255).all())


SCRIPT = """
import sys
from pathlib import Path
from avsa.acquire.segment import segment
from avsa.config import Segment
segment(Path(sys.argv[1]), Path(sys.argv[2]), Segment.model_validate_json(sys.argv[3]), 48, jobs=int(sys.argv[4]))
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=HERE, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


DIE = """
import os, signal
from avsa.acquire import segment as module
write, pictures = module.write_atomically, 0
def dying(path, payload, **options):
    global pictures
    pictures += path.suffix == ".png"
    if pictures == 3:
        path.with_name(f"{path.name}.{os.getpid()}.part").write_bytes(payload[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, payload, **options)
module.write_atomically = dying
"""


def test_killed_in_the_middle(raw: Path, model: Path, tmp_path: Path) -> None:
    """Killed while it writes the third picture; continued, all is as if nothing had happened."""
    config, out = settings(model), tmp_path / "out"
    segment(raw, tmp_path / "undisturbed", config, HEIGHT, jobs=1)
    process = start(DIE + SCRIPT, raw, out, config.model_dump_json(), 1)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.segm.png")}
    assert len(times) == 2
    assert len(list(out.rglob("*.part"))) == 1
    summary = segment(raw, out, config, HEIGHT, jobs=1)
    assert (summary.resumed, summary.recordings) == (2, 5)
    assert files(out) == files(tmp_path / "undisturbed")
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert not list(out.rglob("*.part"))
    assert segment(raw, out, config, HEIGHT, jobs=1).resumed == 5


def test_beside_the_recordings(raw: Path, model: Path, tmp_path: Path) -> None:
    """What is there stays; what would not fit together is refused; --overwrite makes all anew."""
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    hand_made, classes = own / "train" / "r2.segm.png", own / "classes.json"
    shutil.copy(raw / "train" / "r0.mp4", hand_made)  # whatever it is
    for wrong in (None, {"things": ["a"], "stuff": []}):
        if wrong:
            classes.write_text(json.dumps(wrong))
        with pytest.raises(
            UserError, match=r"holds label maps of other classes than the model's \(classes.json\): --over"
        ):
            segment(own, own, settings(model), HEIGHT, jobs=1)
    assert len(list(own.rglob("*.segm.png"))) == 1
    classes.write_text(json.dumps(CLASSES))
    before = hand_made.read_bytes()
    summary = segment(own, own, settings(model), HEIGHT, jobs=1)
    assert (summary.resumed, summary.maps) == (1, 9)
    assert hand_made.read_bytes() == before
    with pytest.raises(UserError, match="holds label maps made with other settings: --overwrite removes these maps"):
        segment(own, own, settings(model, confidence=0.5), HEIGHT, jobs=1)
    segment(own, own, settings(model, batch=3), HEIGHT, jobs=1)
    summary = segment(own, own, settings(model, confidence=0.0), HEIGHT, overwrite=True, jobs=1)
    assert (summary.resumed, summary.maps, summary.ignored) == (0, 11, 0.0)
    assert read(hand_made).shape == (2, HEIGHT, 2 * HEIGHT)


def test_two_at_once(raw: Path, model: Path, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match=r"another run is writing label maps to .*: wait for it"):
        segment(raw, tmp_path, settings(model), HEIGHT, jobs=1)
    os.close(folder)


def test_bad_recordings(raw: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    train = own / "train"
    (train / "a-noise.mp4").write_bytes(os.urandom(3000))
    (train / "b-empty.mp4").touch()
    (train / "c-cut.mp4").write_bytes((train / "r0.mp4").read_bytes()[:2000])
    (train / "d-sound.wav").write_bytes(b"RIFF")
    shutil.copy(train / "r0.mp4", train / "e-truth.mp4")
    (train / "e-truth.json").write_text("[1]")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2 * HEIGHT**2 * 5 // 4)  # two maps
    summary = segment(own, own, settings(model), HEIGHT, jobs=1)
    ledger = [json.loads(line) for line in (own / "unsegmented.jsonl").read_text().splitlines()]
    assert [(line["source"], line["check"]) for line in ledger] == [
        ("test/t.long.name.mp4", "length"),
        ("train/a-noise.mp4", "media"),
        ("train/b-empty.mp4", "media"),
        ("train/c-cut.mp4", "media"),
        ("train/d-sound.wav", "video"),
        ("train/e-truth.mp4", "truth"),
    ]
    assert [refusal.source for refusal in summary.refused] == [line["source"] for line in ledger]
    assert len(list(own.rglob("*.segm.png"))) == 4
    assert "longer than the 2 maps of height 48 that one picture holds: cut" in ledger[0]["reason"]
    monkeypatch.undo()
    for path in train.glob("[a-e]-*"):
        path.unlink()
    assert segment(own, own, settings(model), HEIGHT, jobs=1).maps == 3
    assert not (own / "unsegmented.jsonl").exists()


def test_damaged_frames_are_ignored(model: Path, tmp_path: Path) -> None:
    """A video that cannot be decoded in its middle: those maps say nothing, the others stay where they belong."""
    video = write_world(tmp_path / "raw" / "r.mp4", maps=8)
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    video.write_bytes(content)
    segment(tmp_path / "raw", tmp_path / "out", settings(model), HEIGHT, jobs=1)
    found_THW = read(tmp_path / "out" / "r.segm.png")
    lost = [bool((found_HW == 255).all()) for found_HW in found_THW]
    assert 0 < sum(lost) < len(lost)
    for number in np.flatnonzero(~np.array(lost)):
        truth_HW, clear_HW = regions(HEIGHT, turn_at(int(number)))
        assert (found_THW[number] == truth_HW)[clear_HW].mean() > 0.99


def test_a_crash_costs_only_its_recording(raw: Path, tmp_path: Path) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own)
    magenta_THWC = np.broadcast_to(np.array([255, 0, 255], np.uint8), (4, 96, 192, 3))
    write_video(own / "train" / "deadly.mp4", np.ascontiguousarray(magenta_THWC))
    process = start(SCRIPT, own, own, settings("oracle:Deadly").model_dump_json(), 2)
    error = process.communicate()[1]
    assert process.returncode == 0, error
    ledger = [json.loads(line) for line in (own / "unsegmented.jsonl").read_text().splitlines()]
    assert [(line["source"], line["check"]) for line in ledger] == [("train/deadly.mp4", "crash")]
    assert len(list(own.rglob("*.segm.png"))) == 5


def test_a_decoder_that_hangs_ends_its_process(raw: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from avsa.acquire import labeller
from avsa.config import Segment
class Endless:
    def __init__(self, *_): pass
    def __iter__(self): return self
    def __next__(self): time.sleep(60)
labeller.Reel = Endless
labeller.Labeller(Segment(model="oracle:Oracle", size=16), 48, "cpu", patience_s=1).label(Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", script, str(raw / "train" / "r0.mp4")]
    assert subprocess.run(command, cwd=HERE, check=False).returncode == -signal.SIGALRM


def test_nothing_to_do_and_nothing_that_works(raw: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of recordings at"):
        segment(tmp_path / "nowhere", tmp_path, settings(model), HEIGHT)
    with pytest.raises(UserError, match=r"nosuch\.pt: no such file"):
        segment(raw, tmp_path / "out", settings(tmp_path / "nosuch.pt"), HEIGHT)
    assert not (tmp_path / "out").exists()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").touch()
    with pytest.raises(UserError, match=r"none of 1 recordings can be labelled, e.g. .*the file is empty: .*unsegm"):
        segment(tmp_path / "raw", tmp_path / "raw", settings(model), HEIGHT, jobs=1)
