"""Whole data sets through real files: the same bytes always, and directions that survive the codecs."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from avsa.acquire.synth import render_dataset
from avsa.acquire.synth.dataset import render_scene
from avsa.acquire.synth.media import write_audio
from avsa.acquire.synth.places import build_place
from avsa.acquire.synth.scene import draw_scene
from avsa.acquire.synth.soundfield import mix
from avsa.acquire.synth.things import THINGS
from avsa.config import Synth
from avsa.errors import UserError

TINY = Synth(train=3, val=1, test=2, height=32, fps=8, sample_rate=8000, duration_s=1.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sound(path: Path) -> npt.NDArray[np.float32]:
    with av.open(str(path)) as container:
        assert container.streams.audio[0].layout.name == "4.0"
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def direction(foa: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Unit vector (x, y, z) of the mean of W·(X, Y, Z)."""
    vector = np.array([np.mean(foa[0] * foa[channel]) for channel in (3, 1, 2)])
    unit: npt.NDArray[np.floating] = vector / np.linalg.norm(vector)
    return unit


def unit_vector(azimuth: float, elevation: float) -> npt.NDArray[np.floating]:
    cos = np.cos(elevation)
    return np.array([np.cos(azimuth) * cos, np.sin(azimuth) * cos, np.sin(elevation)])


def degrees_between(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth360")
    render_dataset(TINY, out, jobs=1)
    return out


def test_the_raw_form_is_complete(rendered: Path) -> None:
    names = {str(p.relative_to(rendered)) for p in rendered.rglob("*") if p.is_file()}
    scenes = ["train/train-00000", "train/train-00001", "train/train-00002"]
    scenes += ["val/val-00000", "test/test-00000", "test/test-00001"]
    expected = {f"{scene}.{suffix}" for scene in scenes for suffix in ("mp4", "m4a", "segm.png", "json")}
    assert names == expected | {"classes.json", "synth.json"}
    with av.open(str(rendered / "val/val-00000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, float(stream.average_rate or 0)) == ("h264", "yuv420p", 8.0)
        assert [(f.width, f.height) for f in container.decode(stream)] == [(64, 32)] * 8
    foa = sound(rendered / "val/val-00000.m4a")
    assert foa.shape[0] == 4
    assert 8000 <= foa.shape[1] < 8000 + 1024  # whole AAC frames
    maps = np.asarray(Image.open(rendered / "val/val-00000.segm.png"))
    assert maps.shape == (4 * 32, 64)
    truth = json.loads((rendered / "val/val-00000.json").read_text())
    assert truth["label_fps"] == 4
    assert truth["time_s"] == [0, 0.25, 0.5, 0.75]
    assert all(len(item["azimuth"]) == len(item["elevation"]) == 4 for item in truth["objects"])
    names_of = json.loads((rendered / "classes.json").read_text())
    assert maps.max() < len(names_of["things"]) + len(names_of["stuff"])


def test_two_processes_write_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    render_dataset(TINY, tmp_path, jobs=2)
    assert contents(tmp_path) == contents(rendered)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    whole = contents(rendered)
    for name, data in whole.items():  # as a kill leaves it: one scene half there, one not begun
        if not name.startswith(("train/train-00002", "test/test-00001")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    (tmp_path / "train/train-00002.mp4").write_bytes(b"older")
    (tmp_path / "train/.train-00002.m4a.part").write_bytes(b"half")
    (tmp_path / "val/val-00000.mp4").write_bytes(b"complete scenes are not rendered again")
    render_dataset(TINY, tmp_path, jobs=1)
    found = contents(tmp_path)
    assert found.pop("val/val-00000.mp4") == b"complete scenes are not rendered again"
    whole.pop("val/val-00000.mp4")
    assert found == whole


def test_a_new_folder_appears_when_it_is_complete(rendered: Path, tmp_path: Path) -> None:
    whole = contents(rendered)
    out, unfinished = tmp_path / "synth360", tmp_path / ".synth360.unfinished"
    for name, data in whole.items():
        if not name.startswith("test/"):
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_bytes(data)
    (unfinished / "val/val-00000.mp4").write_bytes(b"complete scenes are not rendered again")
    render_dataset(TINY, out, jobs=1)
    found = contents(out)
    assert found.pop("val/val-00000.mp4") == b"complete scenes are not rendered again"
    assert found == {name: data for name, data in whole.items() if name != "val/val-00000.mp4"}
    assert not unfinished.exists()
    unfinished.mkdir()  # of other settings: nobody waits for it
    (unfinished / "synth.json").write_text(TINY.model_copy(update={"seed": 1}).model_dump_json())
    (unfinished / "train").mkdir()
    (unfinished / "train/train-00000.json").write_text("{}")
    (out / "synth.json").unlink()
    out.rename(tmp_path / "before")
    render_dataset(TINY, out, jobs=1)
    assert contents(out) == whole


def test_more_scenes_leave_the_others_as_they_were(rendered: Path, tmp_path: Path) -> None:
    more = TINY.model_copy(update={"train": 1, "val": 2, "test": 1})
    render_dataset(more, tmp_path, jobs=1)
    found, before = contents(tmp_path), contents(rendered)
    shared = set(found) & set(before) - {"synth.json"}
    assert len(shared) == 3 * 4 + 1
    assert all(found[name] == before[name] for name in shared)
    render_dataset(more.model_copy(update={"test": 2}), tmp_path, jobs=1)
    assert (tmp_path / "test/test-00001.json").exists()


def test_scenes_of_other_settings_are_not_mixed(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="other settings"):
        render_dataset(TINY.model_copy(update={"seed": 1}), rendered, jobs=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="holds other recordings"):
        render_dataset(TINY, tmp_path, jobs=1)
    with pytest.raises(UserError, match="cannot write"):
        render_dataset(TINY, tmp_path / "file" / "out", jobs=1)


@pytest.mark.parametrize("sample_rate", [8000, 24000])
def test_aac_keeps_every_class_where_it_is(sample_rate: int, tmp_path: Path) -> None:
    synth = Synth(sample_rate=sample_rate, ambience_share=0.0, noise_db=-80, reverb_db=-80, duration_s=2.0)
    for kind in range(len(THINGS)):
        scene = draw_scene(synth, "train", kind)
        item = replace(scene.objects[0], kind=kind, beat_hz=2.0, azimuth_speed=0.0, elevation_swing=0.0)
        scene = replace(scene, objects=(item,))
        write_audio(tmp_path / "sound.m4a", mix(scene, build_place(0, scene.place, 32), synth), sample_rate)
        heard = direction(sound(tmp_path / "sound.m4a"))
        assert degrees_between(heard, unit_vector(item.azimuth, item.elevation)) < 1.0, THINGS[kind].name


def test_moving_sources_are_heard_and_seen_where_the_truth_says(tmp_path: Path) -> None:
    """Through the files: the direction of arrival, the picture's glow and the label map all agree with the JSON."""
    synth = Synth(
        objects=(1, 1), distractors=(0, 0), ambience_share=0, noise_db=-60, reverb_db=-60, sample_rate=8000, fps=8
    )
    errors = []
    for index in range(10):
        render_scene(synth, "train", index, tmp_path)
        stem = tmp_path / f"train-{index:05d}"
        truth = json.loads(stem.with_suffix(".json").read_text())
        foa = sound(stem.with_suffix(".m4a"))
        maps_THW = np.asarray(Image.open(f"{stem}.segm.png")).reshape(-1, 128, 256)
        (item,) = truth["objects"]
        for number, (time, azimuth, elevation) in enumerate(
            zip(truth["time_s"], item["azimuth"], item["elevation"], strict=True)
        ):
            at = round(time * 8000)
            heard = foa[:, max(0, at - 200) : at + 200]
            if np.mean(heard[0] ** 2) > 0.05 * np.mean(foa[0] ** 2):
                errors.append(degrees_between(direction(heard), unit_vector(azimuth, elevation)))
            column, row = (
                round((0.5 - azimuth / 2 / np.pi) * 256 - 0.5) % 256,
                round((0.5 - elevation / np.pi) * 128 - 0.5),
            )
            assert maps_THW[number, row, column] == item["class_id"]
    assert len(errors) > 60
    assert max(errors) < 3.0
