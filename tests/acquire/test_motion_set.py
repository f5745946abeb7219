"""The motion set on disk: the two layouts, the same bytes always, and what moves is what the class says."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from avsa.acquire.motion import render_motion
from avsa.acquire.motion.dataset import MADE_BY
from avsa.acquire.motion.film import draw_film, draw_look
from avsa.acquire.motion.gestures import Start
from avsa.acquire.motion.layouts import HMDB_ACTIONS, UCF_ACTIONS
from avsa.config import Motion, MotionSet
from avsa.data.action_splits import data_set_name
from avsa.errors import UserError

TINY = Motion(
    height=32,
    duration_s=(0.2, 0.4),
    places=2,
    ucf101=MotionSet(train=1, test=2, clips=2),
    hmdb51=MotionSet(train=1, test=1, clips=1),
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("motion")
    render_motion(TINY, root, jobs=1)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_bytes_are_the_same_for_any_number_of_processes(rendered: Path, tmp_path: Path) -> None:
    render_motion(TINY, tmp_path, jobs=2)
    assert contents(tmp_path) == contents(rendered)


def test_ucf_layout(rendered: Path) -> None:
    folder = rendered / "ucf101"
    lists = folder / "ucfTrainTestlist"
    classes = (lists / "classInd.txt").read_text().splitlines()
    assert classes[0] == "1 DriftLeft"
    assert [int(line.split()[0]) for line in classes] == list(range(1, len(UCF_ACTIONS) + 1))
    videos = {str(path.relative_to(folder / "UCF-101")) for path in folder.rglob("*.avi")}
    assert "SpinRight/v_SpinRight_g03_c02.avi" in videos
    assert len(videos) == len(UCF_ACTIONS) * 3 * 2
    tested = set()
    for fold in (1, 2, 3):
        train = dict(line.split() for line in (lists / f"trainlist{fold:02d}.txt").read_text().splitlines())
        test = (lists / f"testlist{fold:02d}.txt").read_text().splitlines()
        assert len(train) == len(UCF_ACTIONS) * 2
        assert set(train) | set(test) == videos
        assert all(classes[int(number) - 1].split()[1] == name.split("/")[0] for name, number in train.items())
        groups = [{name.rpartition("_c")[0] for name in part} for part in (train, test)]
        assert not groups[0] & groups[1]
        tested.add(frozenset(test))
    assert len(tested) == 3


def test_hmdb_layout(rendered: Path) -> None:
    folder = rendered / "hmdb51"
    names = {path.name for path in folder.rglob("*.avi")}
    assert {"#", "&", ";", " "} <= set("".join(names))
    for action in HMDB_ACTIONS:
        own = {path.name for path in (folder / action).glob("*.avi")}
        for fold in (1, 2, 3):
            text = (folder / f"testTrainMulti_7030_splits/{action}_test_split{fold}.txt").read_text()
            parts = dict(line.strip().rsplit(" ", 1) for line in text.splitlines())
            assert parts.keys() == own
            assert sorted(parts.values()) == ["0", "1", "2"]


def test_rates_and_codec_are_the_originals(rendered: Path) -> None:
    for name, rate in (("ucf101", 25), ("hmdb51", 30)):
        path = sorted((rendered / name).rglob("*.avi"))[0]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert float(stream.average_rate or 0) == rate
            assert stream.codec_context.name == "mpeg4"
            assert stream.height * 4 == pytest.approx(stream.width * 3, abs=4)
            assert 0.2 * rate <= stream.frames <= 0.4 * rate


def test_the_videos_of_a_group_show_one_thing_in_one_place(rendered: Path) -> None:
    """Colours of the place alone are compared: groups differ by far more than the videos of a group."""

    def hue(name: str) -> npt.NDArray[np.floating]:
        with av.open(str(rendered / "ucf101/UCF-101" / name)) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)
        mean: npt.NDArray[np.floating] = np.median(frame, axis=1)  # each row's: things are small
        return mean

    same = [np.abs(hue(f"{c}/v_{c}_g01_c01.avi") - hue(f"{c}/v_{c}_g01_c02.avi")).mean() for c in ("Rise", "Sink")]
    other = [np.abs(hue(f"{c}/v_{c}_g01_c01.avi") - hue(f"{c}/v_{c}_g02_c01.avi")).mean() for c in ("Rise", "Sink")]
    assert max(same) < min(other)


def test_what_is_missing_is_rendered_and_what_is_there_stays(rendered: Path, tmp_path: Path) -> None:
    render_motion(TINY, tmp_path, jobs=1)
    gone, kept = sorted(tmp_path.rglob("*.avi"))[:2]
    gone.unlink()
    kept.write_bytes(b"kept")
    render_motion(TINY, tmp_path, jobs=1)
    assert gone.exists()
    assert kept.read_bytes() == b"kept"


def test_another_configuration_replaces_what_was_rendered(tmp_path: Path) -> None:
    render_motion(TINY, tmp_path, jobs=1)
    smaller = TINY.model_copy(update={"ucf101": MotionSet(train=1, test=1, clips=1)})
    render_motion(smaller, tmp_path, jobs=1)
    assert len(list((tmp_path / "ucf101").rglob("*.avi"))) == len(UCF_ACTIONS) * 2
    assert json.loads((tmp_path / "ucf101" / MADE_BY).read_text())["ucf101"]["clips"] == 1


def test_real_videos_stay_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = tmp_path / "ucf101" / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"real")
    render_motion(TINY, tmp_path, jobs=1)
    assert [path for path in (tmp_path / "ucf101").rglob("*") if path.is_file()] == [real]
    assert (tmp_path / "hmdb51" / MADE_BY).exists()
    assert "used as they are" in capsys.readouterr().out


UNPACKED = {
    "ucf101": {
        "UCF-101/Archery/v_Archery_g01_c01.avi": "real",
        "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g01_c01.avi 1\n",  # one of ours has the same name
    },
    "hmdb51": {
        "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi": "real",
        "testTrainMulti_7030_splits/clap_test_split1.txt": "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 1 \n",
    },
}
SMALLER = {"ucf101": MotionSet(train=1, test=1, clips=1), "hmdb51": MotionSet(train=1, test=2, clips=1)}


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, files in UNPACKED.items() for path in (*files, "all of them")]
)
def test_what_is_unpacked_over_a_rendered_set_stays(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, path: str, changed: bool
) -> None:
    """One file of the real set, or all of them; with the settings that were rendered, and with others."""
    folder = Path(shutil.copytree(rendered / name, tmp_path / name))
    files = {p: text for p, text in UNPACKED[name].items() if path in (p, "all of them")}
    for own, text in files.items():
        (folder / own).parent.mkdir(exist_ok=True)
        (folder / own).write_text(text)
    before = contents(folder)
    del before[MADE_BY]
    motion = TINY.model_copy(update=SMALLER) if changed else TINY
    render_motion(motion, tmp_path, jobs=1)
    assert contents(folder) == before
    (line,) = [line for line in capsys.readouterr().out.splitlines() if str(folder) in line]
    assert any(line.startswith(f"{folder / own} was not rendered here") for own in files)
    assert data_set_name(tmp_path, "ucf101" if name == "ucf101" else "hmdb51") == name
    render_motion(motion, tmp_path, jobs=1)
    assert contents(folder) == before


def test_real_videos_behind_a_link_stay(rendered: Path, tmp_path: Path) -> None:
    folder, real = Path(shutil.copytree(rendered / "ucf101", tmp_path / "ucf101")), tmp_path / "elsewhere"
    (real / "Archery").mkdir(parents=True)
    (real / "Archery" / "v_Archery_g01_c01.avi").write_text("real")
    shutil.rmtree(folder / "UCF-101")
    (folder / "UCF-101").symlink_to(real)
    render_motion(TINY, tmp_path, jobs=1)
    assert list(contents(real)) == ["Archery/v_Archery_g01_c01.avi"]


def test_only_what_was_rendered_is_deleted(tmp_path: Path) -> None:
    render_motion(TINY, tmp_path, jobs=1)
    folder = tmp_path / "ucf101"
    kept = [folder / "UCF-101.rar", folder / "notes.txt", folder / ".DS_Store"]
    left = folder / "UCF-101" / "Sink" / ".v_Sink_g03_c02.avi.part"  # by an interrupted rendering
    for path in (*kept, left):
        path.write_text("x")
    render_motion(TINY.model_copy(update=SMALLER), tmp_path, jobs=1)
    assert all(path.read_text() == "x" for path in kept)
    assert not left.exists()
    assert len(list(folder.rglob("*.avi"))) == len(UCF_ACTIONS) * 2


@pytest.mark.parametrize("text", ["", '{"seed": 0, ', "[]", '{"colour": 1}'])
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    video = tmp_path / "ucf101" / "UCF-101" / "Sink" / "v_Sink_g01_c01.avi"
    video.parent.mkdir(parents=True)
    video.touch()
    (tmp_path / "ucf101" / MADE_BY).write_text(text)
    with pytest.raises(UserError, match=r"motion\.json: not the settings of a rendering: delete") as error:
        render_motion(TINY, tmp_path, jobs=1)
    assert "\n" not in str(error.value)
    assert video.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ucf101").write_text("a file")
    with pytest.raises(UserError, match="cannot write videos"):
        render_motion(TINY, tmp_path, jobs=1)


def test_the_thing_is_where_its_track_says() -> None:
    """With and without the thing: the pixels that differ lie about (right, up), within the radius."""
    look = draw_look(np.random.default_rng(3), 0, 2)
    start = Start(right=0.8, up=0.3, angle=0.1, size=0.2, rate=0.5)
    height, width, time_T = 96, 128, np.array([0.0])
    here = draw_film("drift_right", look, start, height, width, time_T)[0].astype(int)
    away = draw_film("drift_right", look, start._replace(right=0.1, up=0.9), height, width, time_T)[0].astype(int)
    rows, columns = np.nonzero(np.abs(here - away).sum(-1) > 60)
    right, up = (2 * columns + 1 - width) / height, (height - 1 - 2 * rows) / height
    expected = (2 * 0.7 * 0.8 - 0.7, 2 * 0.7 * 0.3 - 0.7)
    radius = 0.3 * (0.8 / 0.3) ** 0.2
    near = np.hypot(right - expected[0], up - expected[1]) < radius + 0.03
    far = np.hypot(right - (2 * 0.7 * 0.1 - 0.7), up - (2 * 0.7 * 0.9 - 0.7)) < radius + 0.03
    assert (near | far).all()
    assert near.sum() > 0.3 * np.pi * (radius * height / 2) ** 2
