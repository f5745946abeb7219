"""The parts around a download: what failures are called, the ledger, the lists, the pace, the files' examination."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from download_media import write_film
from pydantic import ValidationError
from yt_dlp.networking import Request, Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from avsa.acquire.youtube.downloads import Downloads, File, Record, settings_of
from avsa.acquire.youtube.lists import Item, read_lists
from avsa.acquire.youtube.media import examine, sha256
from avsa.acquire.youtube.pace import Pace, Stopped, backoff_s
from avsa.acquire.youtube.states import SETTINGS, STATES, Failure, State, classify
from avsa.acquire.youtube.summary import summarise
from avsa.config import Download
from avsa.errors import UserError

A, B, C, D = "aaaaaaaaaa0", "bbbbbbbbbb4", "-cccccccccc", "_ddddddddd8"


def http_error(status: int, **headers: str) -> HTTPError:
    import io

    response = Response(io.BytesIO(), "http://cdn/x", headers, status=status)
    return HTTPError(response)


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("Private video. Sign in if you've been granted access to this video", "private"),
        ("Video unavailable. This video is private", "private"),
        ("Video unavailable", "gone"),
        ("This video has been removed by the uploader", "gone"),
        ("Video unavailable. This video is no longer available because the account has been terminated.", "gone"),
        ("This video is not available", "gone"),
        ("The uploader has not made this video available in your country", "geo-blocked"),
        ("Video unavailable. It blocked it in your country on copyright grounds", "geo-blocked"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "login-required"),
        ("Join this channel to get access to members-only content like this video", "login-required"),
        ("Sign in to confirm you’re not a bot. Use --cookies", "rate-limited"),
        ("This content isn't available, try again later. The current session has been rate-limited", "rate-limited"),
        ("Unable to download API page: HTTP Error 429: Too Many Requests", "rate-limited"),
        ("[download] Got error: HTTP Error 503: Service Unavailable", "network"),
        ("[download] Got error: 3 bytes read, 7 more expected", "network"),
        ("[download] Got error: Read timed out.", "network"),
        ("Unable to download webpage: [Errno -2] Name or service not known (Failed to resolve)", "network"),
        ("Requested format is not available", "no-format"),
        ("Premieres in 3 hours", "no-format"),
        ("Unsupported URL: http://127.0.0.1/x", "wrong-type"),
        ("An extractor error has occurred. (caused by KeyError('x'))", "failed"),
    ],
)
def test_words(message: str, state: State) -> None:
    failure = classify(DownloadError(f"\x1b[0;31mERROR:\x1b[0m {message}"))
    assert (failure.state, failure.reason) == (state, message)


@pytest.mark.parametrize(
    ("status", "state"),
    [(404, "gone"), (410, "gone"), (403, "forbidden"), (429, "rate-limited"), (451, "geo-blocked"), (502, "network")],
)
def test_a_status_is_found_below_what_yt_dlp_makes_of_it(status: int, state: State) -> None:
    wrapped = ExtractorError("[generic] Unable to download webpage", cause=http_error(status))
    assert classify(DownloadError("ERROR: x", (ExtractorError, wrapped, None))).state == state
    assert classify(http_error(status)).state == state


def test_other_exceptions() -> None:
    assert classify(GeoRestrictedError("x", ["DE"])).state == "geo-blocked"
    assert classify(TransportError("connection broken")).state == "network"
    assert classify(KeyError("x")).state == "failed"
    assert classify(DownloadError("No video formats found!"), "android client: HTTP Error 429: Too Many").state == (
        "no-format"
    )
    assert classify(DownloadError("?"), "android client: HTTP Error 429: Too Many Requests").state == "rate-limited"
    inner = Failure("too-large", "5 MB")
    outer = DownloadError("stopped")
    outer.__cause__ = inner
    assert classify(outer) is inner


def test_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, or a date."""
    assert classify(http_error(429, **{"Retry-After": "17"})).retry_after_s == 17
    monkeypatch.setattr(time, "time", lambda: 1_445_412_000.0)
    assert classify(http_error(429, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})).retry_after_s == 480
    assert classify(http_error(429, **{"Retry-After": "soon"})).retry_after_s is None
    assert classify(http_error(429)).retry_after_s is None


class Clock:
    """Stands in for the module `time`; sleeping is what lets it go on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stand_in = Clock()
    monkeypatch.setattr("avsa.acquire.youtube.pace.time", stand_in)
    return stand_in


def at_turns(pace: Pace, clock: Clock, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(pace, "sleep", sleep)
    turns = []
    for _ in range(count):
        pace.turn()
        turns.append(clock.now)
    return turns


def test_turns_are_apart(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(3.0)
    assert at_turns(pace, clock, 3, monkeypatch) == [100, 103, 106]
    clock.now = 120
    assert at_turns(pace, clock, 2, monkeypatch) == [120, 123]
    pace.hold(60)
    assert at_turns(pace, clock, 2, monkeypatch) == [183, 186]
    pace.hold(1)  # an interval or a longer pause that holds already stays
    assert at_turns(pace, clock, 1, monkeypatch) == [189]


def test_a_run_that_ends_lets_nobody_wait() -> None:
    pace = Pace(1000.0)
    pace.turn()
    pace.stop()
    for wait in (pace.turn, pace.check, lambda: pace.sleep(1000)):
        with pytest.raises(Stopped):
            wait()


def test_backoff_doubles() -> None:
    for failures, low in ((1, 5), (2, 10), (5, 80)):
        drawn = [backoff_s(5.0, failures) for _ in range(50)]
        assert low <= min(drawn) < max(drawn) <= 1.5 * low


def record(name: str, state: State, split: str = "train", **more: object) -> Record:
    return Record.model_validate({"id": name, "split": split, "state": state, "time": "2026-01-01T00:00:00", **more})


def test_the_last_record_of_an_id_counts(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    downloads.add(record(A, "network", error="reset"))
    downloads.add(record(B, "gone"))
    downloads.add(record(A, "private"))
    assert len(downloads.path.read_text().splitlines()) == 3
    again = Downloads(tmp_path)
    assert {name: one.state for name, one in again.records.items()} == {B: "gone", A: "private"}
    again.compact()
    assert [json.loads(line)["id"] for line in again.path.read_text().splitlines()] == [B, A]
    assert Downloads(tmp_path).records == again.records


def test_a_torn_line_is_dropped_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    downloads.add(record(A, "gone"))
    whole = downloads.path.read_bytes()
    for cut in range(1, len(whole), 7):
        downloads.path.write_bytes(whole + whole[:cut][:-1])
        torn = Downloads(tmp_path)
        assert list(torn.records) == [A]
        torn.compact()
        torn.add(record(B, "gone"))
        assert list(Downloads(tmp_path).records) == [A, B]
    downloads.path.write_bytes(b"{]\n" + whole)
    with pytest.raises(UserError, match="line 1 is no record"):
        Downloads(tmp_path)


def test_what_is_tried_again(tmp_path: Path) -> None:
    """A state is final until a setting changes that it depends on."""
    config = Download()
    downloads = Downloads(tmp_path)
    for state in STATES:
        downloads.records[A] = record(A, state, settings=settings_of(state, config))
        assert downloads.final(A, config) == (state in SETTINGS)
    assert not downloads.final(B, config)
    changes = {"cookies": "c.txt", "max_mb": 9e9, "clients": ["web"], "proxy": "http://p:1", "workers": 9}
    expected = {
        "cookies": {"private", "geo-blocked", "login-required"},
        "max_mb": {"too-large"},
        "clients": {"no-spatial-audio", "cube-map-only", "stereoscopic-only"},
        "proxy": {"geo-blocked"},
        "workers": set(),
    }
    for key, value in changes.items():
        other = Download.model_validate({key: value})
        tried = set()
        for state in SETTINGS:
            downloads.records[A] = record(A, state, settings=settings_of(state, config))
            tried |= set() if downloads.final(A, other) else {state}
        assert tried == expected[key]


def test_a_video_whose_files_are_gone_is_fetched_again(tmp_path: Path) -> None:
    file = File(path=f"train/{A}.mkv", format="mkv", client="", bytes=3, sha256="x")
    downloads = Downloads(tmp_path)
    downloads.add(record(A, "ok", files=[file.model_dump()]))
    assert not downloads.final(A, Download())
    (tmp_path / "train").mkdir()
    (tmp_path / file.path).write_bytes(b"abc")
    assert downloads.final(A, Download())
    (tmp_path / file.path).write_bytes(b"ab")
    assert not downloads.final(A, Download())


def write_lists(folder: Path, segments: str | None = None, **splits: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in splits.items():
        (folder / f"{split}.txt").write_text(text)
    if segments is not None:
        (folder / "segments.txt").write_text(segments)
    return folder


def test_lists(tmp_path: Path) -> None:
    lists = read_lists(write_lists(tmp_path, f"{A} 54,68\n{C} 0", train=f"{A}\n{C}\n", test=f"{B}\n\n"))
    assert list(lists) == [Item(A, "train"), Item(C, "train"), Item(B, "test")]
    assert lists.segments == {A: (54.0, 68.0), C: (0.0,)}
    assert Item(C, "train").address("http://m/{split}/{id}.mkv") == f"http://m/train/{C}.mkv"


@pytest.mark.parametrize(
    "bad", ["../../../etc", "-rf", f"{A}/x", f"{A}\u0301", "aaaaaaaaaaa", f"{A};rm", "..........0", "--exec=xx_4"]
)
def test_an_id_that_is_none_goes_no_further(bad: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.txt: .* is no id of a YouTube video"):
        read_lists(write_lists(tmp_path, train=f"{A}\n{bad}\n"))


def test_mistakes_in_lists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no list of ids in .*, such as train\.txt$"):
        read_lists(tmp_path / "none")
    imports = tmp_path / "lists" / "yt360"
    imports.mkdir(parents=True)
    (imports / "train.txt.dvc").touch()
    with pytest.raises(UserError, match=r"fetch them with `dvc --cd .*lists pull`"):
        read_lists(imports)
    with pytest.raises(UserError, match=f"{A} is in train and in test"):
        read_lists(write_lists(tmp_path / "twice", train=A, test=A))


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    for key, value, message in (
        ("address", "http://mirror/all.mkv", "address must be"),
        ("address", "file:///{id}", "address must be"),
        ("proxy", "http://me:secret@proxy:80", "password"),
        ("clients", [], "at least one"),
        ("clients", ["web; rm"], "pattern"),
    ):
        with pytest.raises(ValidationError, match=message):
            Download.model_validate({key: value})


def test_hours_are_those_of_clips(tmp_path: Path) -> None:
    """A 65 s video holds four of the five listed clips of 10 s; what is missing is named."""
    lists = read_lists(
        write_lists(
            tmp_path / "lists",
            f"{A} 0,10,54,55,56\n{B} 1,2\n{C} 3,4,5",
            train=f"{A}\n{B}\n{D}\n",
            test=f"{C}\n",
        )
    )
    raw = tmp_path / "raw"
    (raw / "train").mkdir(parents=True)
    (raw / "test").mkdir()
    downloads = Downloads(raw)
    for name, split, seconds in ((A, "train", 65.0), (C, "test", 600.0)):
        file = {"path": f"{split}/{name}.mkv", "format": "x", "client": "", "bytes": 1, "sha256": "x"}
        downloads.add(record(name, "ok", split, files=[file], duration_s=seconds))
        (raw / f"{split}/{name}.mkv").write_bytes(b"x")
    downloads.add(record(B, "geo-blocked", error="not in\tyour country"))
    (raw / f"test/{C}.mkv").unlink()
    summary = summarise(lists, downloads, 10.0)
    train, test = summary.splits
    assert (train.videos, train.listed_videos, train.clips, train.listed_clips) == (1, 3, 4, 7)
    assert (test.videos, test.listed_videos, test.clips, test.listed_clips) == (0, 1, 0, 3)
    assert summary.hours(train.clips) == pytest.approx(40 / 3600)
    assert dict(train.missing) == {"geo-blocked": 1, "not tried": 1}
    assert dict(train.missing_clips) == {"geo-blocked": 2, "not tried": 0}
    assert (raw / "missing.tsv").read_text().splitlines() == [
        "id\tsplit\tstate\tclips\terror",
        f"{B}\ttrain\tgeo-blocked\t2\tnot in your country",
        f"{D}\ttrain\tnot tried\t0\t",
        f"{C}\ttest\tfiles missing\t3\t",
    ]
    assert "train     1 of 3        4 of 7          0.01 of 0.02" in summary.lines()
    assert "missing in train: 1 geo-blocked, 0.01 h of clips" in summary.lines()


def test_without_listed_segments_all_that_fit_count(tmp_path: Path) -> None:
    lists = read_lists(write_lists(tmp_path / "lists", train=A))
    (tmp_path / "raw").mkdir()
    downloads = Downloads(tmp_path / "raw")
    file = {"path": f"{A}.mkv", "format": "x", "client": "", "bytes": 1, "sha256": "x"}
    downloads.add(record(A, "ok", files=[file], duration_s=39.9))
    (tmp_path / "raw" / f"{A}.mkv").write_bytes(b"x")
    (split,) = summarise(lists, downloads, 10.0).splits
    assert (split.clips, split.listed_clips) == (3, 3)


def test_files_are_examined(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv")
    found = examine([film])
    assert (found.duration_s, found.channel_order, found.width, found.height) == (5.0, "acn-sn3d", 64, 32)
    picture = write_film(tmp_path / "p.mp4", sound="", seconds=3.0)
    six = write_film(tmp_path / "s.m4a", picture="", sound="aac", layout="5.1")
    found = examine([picture, six])
    assert found.channel_order == "youtube-aac6"
    assert found.duration_s == pytest.approx(3.0, abs=0.2)
    assert sha256(film) != sha256(picture)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv")
    payload = film.read_bytes()
    cases: dict[str, tuple[bytes, State]] = {
        "page": (b"<!DOCTYPE html><title>Sorry</title>", "wrong-type"),
        "json": (b'{"error": 1}', "wrong-type"),
        "words": (b"no such file\n", "wrong-type"),
        "noise": (bytes(range(128, 256)) * 20, "damaged"),
        "nothing": (b"", "wrong-type"),
        "half": (payload[: len(payload) // 2], "damaged"),
    }
    for name, (content, state) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(Failure) as failure:
            examine([path])
        assert failure.value.state == state, name
    for path in (write_film(tmp_path / "two.mkv", layout="stereo"), write_film(tmp_path / "one.mkv", layout="mono")):
        with pytest.raises(Failure) as failure:
            examine([path])
        assert failure.value.state == "no-spatial-audio"
    with pytest.raises(Failure, match="no sound"):
        examine([write_film(tmp_path / "dumb.mp4", sound="")])


def test_request_is_what_yt_dlp_takes() -> None:
    """The stand-ins above are yt-dlp's own classes."""
    assert Request("http://cdn/x").url == "http://cdn/x"
    assert SimpleNamespace(status=404).status == http_error(404).status
