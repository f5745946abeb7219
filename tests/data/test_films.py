"""Frames by their number, against films whose frames say their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from film_files import numbered, numbers, write_film

from avsa.data.films import Films, read_frames, window
from avsa.errors import UserError


@pytest.mark.parametrize("b_frames", [0, 2])
def test_the_frames_asked_for_in_the_order_asked_for(tmp_path: Path, b_frames: int) -> None:
    path = write_film(tmp_path / "a.avi", numbered(60), 25, b_frames)
    wanted = [31, 3, 3, 59, 0, 12]
    frames_THWC, rate = read_frames(path, lambda count, rate: wanted)
    assert numbers(frames_THWC) == wanted
    assert rate == 25


def test_the_choice_is_told_count_and_rate(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.avi", numbered(45), 30000 / 1001)

    def choose(count: int, rate: float) -> list[int]:
        assert count == 45
        assert rate == pytest.approx(30000 / 1001)
        return [44]

    frames_THWC, rate = read_frames(path, choose)
    assert numbers(frames_THWC) == [44]
    assert rate == pytest.approx(30000 / 1001)


@pytest.mark.parametrize(("count", "rate"), [(75, 25.0), (60, 30.0), (50, 29.97), (16, 16.0)])
@pytest.mark.parametrize("fps", [8.0, 16.0])
def test_windows_take_the_nearest_frames(count: int, rate: float, fps: float) -> None:
    """By looking at the times of all frames, the film being played again and again."""
    frames = 8
    last_start_s = max(0.0, (count - 1) / rate - (frames - 1) / fps)
    times = np.arange(count) / rate
    for start in (0.0, 0.123, 0.51, 0.999, 1.0):
        for i, number in enumerate(window(count, rate, start, frames, fps)):
            away = np.abs(times - (start * last_start_s + i / fps))
            assert away[number] == pytest.approx(away.min(), abs=1e-9)


def test_windows_reach_from_the_first_frame_to_the_last() -> None:
    assert window(100, 25.0, 0.0, 8, 16.0)[0] == 0
    assert window(100, 25.0, 1.0, 8, 16.0)[-1] == 99
    spaced = np.diff(window(100, 25.0, 0.3, 8, 16.0))
    assert set(spaced) <= {1, 2}
    assert abs(spaced.sum() - 7 * 25 / 16) <= 1


def test_a_short_film_is_played_again() -> None:
    assert window(5, 25.0, 0.7, 8, 25.0) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert window(1, 25.0, 0.7, 3, 8.0) == [0, 0, 0]


def test_kept_films_give_the_same_frames(tmp_path: Path) -> None:
    paths = [write_film(tmp_path / f"{n}.avi", numbered(20 + n), 25) for n in range(3)]
    films, kept = Films(paths), Films(paths)
    assert kept.keep(1.0)
    for path in paths[1:]:
        path.rename(path.with_suffix(".gone"))  # what is kept needs no file
    for number, path in enumerate(paths):
        if number:
            path.with_suffix(".gone").rename(path)
        choose = lambda count, rate: [count - 1, 0, count // 2]  # noqa: E731
        np.testing.assert_array_equal(kept.frames(number, choose), films.frames(number, choose))
        assert numbers(kept.frames(number, choose))[0] == 19 + number


def test_films_that_take_too_much_are_not_kept(tmp_path: Path) -> None:
    paths = [write_film(tmp_path / f"{n}.avi", numbered(10), 25) for n in range(2)]
    size = numbered(10).nbytes / 1e9
    assert not Films(paths).keep(1.9 * size)
    assert not Films(paths).keep(0)
    assert Films(paths).keep(2.1 * size)


def test_a_film_that_ends_a_little_early_keeps_its_last_frame(tmp_path: Path) -> None:
    """As DivX files whose header counts frames that are not coded."""
    path = write_film(tmp_path / "a.avi", numbered(30), 25)
    frames_THWC, _ = read_frames(path, lambda count, rate: [28, 29, 30, 32])
    assert numbers(frames_THWC) == [28, 29, 29, 29]
    with pytest.raises(UserError, match="ends before frame 41"):
        read_frames(path, lambda count, rate: [28, 40])


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "a.avi", numbered(60), 25).read_bytes()
    cases = {"empty.avi": b"", "text.avi": b"not a video", "cut.avi": whole[: len(whole) // 3]}
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            read_frames(path, lambda count, rate: [59])
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="no video"):
        read_frames(path, lambda count, rate: [0])
