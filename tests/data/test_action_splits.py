"""Splits of UCF-101 and HMDB-51 as distributed, and what is wrong with them in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from film_files import write_ucf

from avsa.acquire.motion import render_motion
from avsa.acquire.motion.layouts import HMDB_ACTIONS, LAYOUTS, UCF_ACTIONS
from avsa.config import Motion, MotionSet
from avsa.data.action_splits import ActionSplit, ActionVideo, held_out, parse_task, read_split
from avsa.errors import UserError

NAMES = ["Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g08_c02.avi", "YoYo/v_YoYo_g09_c01.avi"]


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    return write_ucf(tmp_path, dict.fromkeys(NAMES), train=NAMES[1:], test=NAMES[:1])


def hmdb(root: Path, lists: dict[str, str]) -> Path:
    """`hmdb51` with the lists of fold 2 by class, and the videos that they name."""
    folder = root / "hmdb51"
    (folder / "testTrainMulti_7030_splits").mkdir(parents=True)
    for name, text in lists.items():
        (folder / "testTrainMulti_7030_splits" / f"{name}_test_split2.txt").write_text(text)
        (folder / name).mkdir()
        for line in text.splitlines():
            (folder / name / line.strip().rsplit(" ", 1)[0]).touch()
    return folder


def refused(root: Path, name: str, fold: int = 1) -> str:
    with pytest.raises(UserError) as error:
        read_split(root, "ucf101" if name == "ucf101" else "hmdb51", fold)
    text = str(error.value)
    assert "\n" not in text
    return text.replace(str(root), "ROOT")


def test_ucf_fold(ucf: Path) -> None:
    split = read_split(ucf.parent, "ucf101", 1)
    assert split.classes == ("Archery", "YoYo")
    assert [(video.name, video.label) for video in split.train] == [(NAMES[1], 0), (NAMES[2], 1)]
    assert [(video.name, video.label) for video in split.test] == [(NAMES[0], 0)]
    assert split.test[0].path == ucf / "UCF-101" / NAMES[0]


def test_videos_of_a_group_are_one_source(ucf: Path) -> None:
    video = read_split(ucf.parent, "ucf101", 1).test[0]
    assert video.source == "Archery/v_Archery_g01"


def test_hmdb_fold_with_odd_names_and_unused_videos(tmp_path: Path) -> None:
    odd = ["#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "a b; c & d!_clap_f_cm_np1_fr_med_11.avi", "(Rad)_it's_clap_3.avi"]
    hmdb(tmp_path, {"clap": f"{odd[0]} 1 \n{odd[1]} 2 \n{odd[2]} 0 \n", "wave": "w_1.avi 2\nw_2.avi 1\n"})
    split = read_split(tmp_path, "hmdb51", 2)
    assert split.classes == ("clap", "wave")
    assert [(video.name, video.label) for video in split.train] == [(f"clap/{odd[0]}", 0), ("wave/w_2.avi", 1)]
    assert [(video.name, video.label) for video in split.test] == [(f"clap/{odd[1]}", 0), ("wave/w_1.avi", 1)]
    assert split.test[0].source == "a b; c & d!"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "#20_Rhythm"),
        ("clap/#20_Rhythm_clap_u_nm_np2_fr_med_1.avi", "#20_Rhythm"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09"),
        ("walk/The_walk_home_walk_f_cm_np1_le_bad_12.avi", "The_walk_home"),
        ("wave/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "wave/April_09_brush_hair_u_nm_np1_ba_goo"),
        ("clap/(Rad)_it's_clap_3.avi", "clap/(Rad)_it's_clap"),
        ("Archery/v_Archery_g01_c02.avi", "Archery/v_Archery_g01"),
    ],
)
def test_a_film_is_one_source(path: str, source: str) -> None:
    assert ActionVideo(Path(path), 0).source == source


def test_a_rendered_group_is_one_source() -> None:
    """Titles are shared by classes and by groups, which show different things."""
    wanted = MotionSet(train=6, test=5, clips=3)
    for layout in LAYOUTS:
        group_of: dict[str, set[tuple[int, int]]] = {}
        for video in layout.videos(wanted):
            group_of.setdefault(ActionVideo(Path(video.path), 0).source, set()).add((video.action, video.group))
        assert all(len(groups) == 1 for groups in group_of.values())
        assert len(group_of) == len({(video.action, video.group) for video in layout.videos(wanted)})


def test_what_is_rendered_is_read_and_no_source_is_on_both_sides(tmp_path: Path) -> None:
    sizes = MotionSet(train=2, test=1, clips=2)
    render_motion(Motion(height=32, duration_s=(0.1, 0.1), places=1, ucf101=sizes, hmdb51=sizes), tmp_path, jobs=1)
    tested = []
    for fold in (1, 2, 3):
        ucf, hmdb51 = read_split(tmp_path, "ucf101", fold), read_split(tmp_path, "hmdb51", fold)
        assert (len(ucf.classes), len(hmdb51.classes)) == (len(UCF_ACTIONS), len(HMDB_ACTIONS))
        for split in (ucf, hmdb51):
            assert len(split.train) == 2 * len(split.test) == 4 * len(split.classes)
            assert not {video.source for video in split.train} & {video.source for video in split.test}
        assert all(split.classes[v.label].lower() == v.name.split("/")[0].lower() for v in split.train)
        tested.append({video.name for video in ucf.test})
    assert not tested[0] & tested[1] | tested[1] & tested[2] | tested[0] & tested[2]


def test_task_names() -> None:
    assert parse_task("ucf101-3") == ("ucf101", 3)
    assert parse_task("hmdb51-1") == ("hmdb51", 1)
    for wrong, line in {
        "ucf101-4": "ucf101-4: ucf101 has the folds 1, 2 and 3",
        "hmdb51": "hmdb51: hmdb51 has the folds 1, 2 and 3",
        "ucf50-1": "no action data set 'ucf50': choose one of ucf101, hmdb51",
    }.items():
        with pytest.raises(UserError) as error:
            parse_task(wrong)
        assert str(error.value) == line


def test_no_data_set(tmp_path: Path) -> None:
    for name in ("ucf101", "hmdb51"):
        assert refused(tmp_path, name).startswith(f"ROOT/{name}: no data set here: set evaluate.action.root")
        (tmp_path / name).mkdir()
    assert refused(tmp_path, "ucf101").startswith("ROOT/ucf101/ucfTrainTestlist/classInd.txt: no such list")
    assert refused(tmp_path, "hmdb51") == "ROOT/hmdb51/testTrainMulti_7030_splits: no lists *_test_split1.txt"


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        (
            "trainlist01.txt",
            "Archery/v_Archery_g77_c01.avi 1",
            "no such video: ROOT/ucf101/UCF-101/Archery/v_Archery_g77",
        ),
        ("testlist01.txt", f"{NAMES[0]}\nYoYo/gone.avi", "testlist01.txt, line 2: no such video"),
        ("trainlist01.txt", f"{NAMES[1]} 3", "line 1: class number 3 is out of range: classInd.txt has 1 … 2"),
        ("trainlist01.txt", f"{NAMES[1]} 0", "class number 0 is out of range"),
        ("trainlist01.txt", f"{NAMES[1]} one", "class number one is out of range"),
        ("trainlist01.txt", f"{NAMES[1]} 2", "line 1: Archery is class 1, not 2"),
        ("trainlist01.txt", "Juggling/v_Juggling_g01_c01.avi 1", "class 'Juggling' is not in ROOT/ucf101"),
        ("trainlist01.txt", "1", "line 1: expected 'Class/video.avi', found '1'"),
        ("trainlist01.txt", "", "ROOT/ucf101: fold 1 lists no training videos"),
        ("testlist01.txt", "\n", "ROOT/ucf101: fold 1 lists no test videos"),
        ("classInd.txt", "1 Archery\n3 YoYo", "classInd.txt, line 2: expected '2 Class', found '3 YoYo'"),
        ("classInd.txt", "0 Archery\n1 YoYo", "classInd.txt, line 1: expected '1 Class', found '0 Archery'"),
    ],
)
def test_bad_ucf_lists(ucf: Path, file: str, text: str, line: str) -> None:
    (ucf / "ucfTrainTestlist" / file).write_text(text)
    assert line in refused(ucf.parent, "ucf101")


def test_missing_and_binary_lists(ucf: Path) -> None:
    assert "trainlist02.txt: no such list" in refused(ucf.parent, "ucf101", fold=2)
    (ucf / "ucfTrainTestlist" / "testlist01.txt").write_bytes(b"\xff\xfe")
    assert "not a text file" in refused(ucf.parent, "ucf101")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x_1.avi 3\n", "clap_test_split2.txt, line 1: expected 'name.avi' and 0, 1 or 2, found 'x_1.avi 3'"),
        ("x_1.avi\n", "found 'x_1.avi'"),
        ("gone_1.avi 2\n", "line 1: no such video: ROOT/hmdb51/clap/gone_1.avi"),
        ("x_1.avi 1\n", "ROOT/hmdb51: fold 2 lists no test videos"),
    ],
)
def test_bad_hmdb_lists(tmp_path: Path, text: str, line: str) -> None:
    folder = hmdb(tmp_path, {"clap": "x_1.avi 1\n"})
    (folder / "testTrainMulti_7030_splits" / "clap_test_split2.txt").write_text(text)
    assert line in refused(tmp_path, "hmdb51", fold=2)


def test_a_class_without_a_list(tmp_path: Path) -> None:
    folder = hmdb(tmp_path, {"clap": "x_1.avi 1\nx_2.avi 2\n", "wave": "w_1.avi 1\n"})
    (folder / "empty").mkdir()
    assert len(read_split(tmp_path, "hmdb51", 2).classes) == 2
    (folder / "testTrainMulti_7030_splits" / "wave_test_split2.txt").rename(folder / "wave_test_split2.txt")
    assert refused(tmp_path, "hmdb51", fold=2) == (
        "ROOT/hmdb51/testTrainMulti_7030_splits/wave_test_split2.txt: no such list, but ROOT/hmdb51/wave holds videos: "
        "add it"
    )


def test_a_video_that_a_fold_does_not_use_may_be_missing(tmp_path: Path) -> None:
    folder = hmdb(tmp_path, {"clap": "x_1.avi 1\nx_2.avi 2\ny_1.avi 0\n"})
    (folder / "clap" / "y_1.avi").unlink()
    assert len(read_split(tmp_path, "hmdb51", 2).train) == 1


def test_every_fifth_source_of_a_class_is_held_out() -> None:
    """Of classes with 7, 1 and 2 sources, whose videos are three each: 2, none and 1 sources."""
    videos = [
        ActionVideo(Path(f"UCF-101/{name}/v_{name}_g{source:02d}_c{clip:02d}.avi"), label)
        for label, (name, sources) in enumerate([("Archery", 7), ("Biking", 1), ("YoYo", 2)])
        for source in range(sources)
        for clip in range(3)
    ]
    split = held_out(ActionSplit(("Archery", "Biking", "YoYo"), tuple(videos), tuple(videos[:1])))
    tested = sorted({video.source for video in split.test})
    assert tested == ["Archery/v_Archery_g00", "Archery/v_Archery_g05", "YoYo/v_YoYo_g00"]
    assert len(split.test) == 9
    assert not {video.source for video in split.train} & set(tested)
    assert sorted(map(str, split.train + split.test)) == sorted(map(str, videos))


def test_single_sources_cannot_be_held_out() -> None:
    videos = (ActionVideo(Path("UCF-101/YoYo/v_YoYo_g01_c01.avi"), 0),)
    with pytest.raises(UserError, match="a single source"):
        held_out(ActionSplit(("YoYo",), videos, videos))
