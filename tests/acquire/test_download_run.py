"""Whole runs against a server in a process of its own that serves real files and fails in every way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from download_media import write_film

from avsa.acquire.youtube import fetch
from avsa.acquire.youtube.download import download
from avsa.acquire.youtube.downloads import Downloads, Record
from avsa.acquire.youtube.fetch import partial_path, settle
from avsa.acquire.youtube.lists import Lists, read_lists
from avsa.acquire.youtube.media import sha256
from avsa.acquire.youtube.pace import Pace
from avsa.acquire.youtube.summary import summarise
from avsa.clips.recordings import list_recordings
from avsa.config import Download
from avsa.errors import UserError

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AVSA_SHARED_DATA", HERE.parents[1] / "../shared/data"))
PARTIAL = 200_000  # bytes: some of a film


def name(number: int) -> str:
    """An id; some begin with a dash, as YouTube's do."""
    return f"{'-' if number % 2 else '_'}video{number:04d}0"


class Server:
    """The process, its folder, its behaviours and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behave({})
        command = [sys.executable, str(HERE / "download_server.py"), str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        self.address = f"http://127.0.0.1:{self.port}/{{split}}/{{id}}.mkv"

    def behave(self, behaviours: dict[str, dict[str, Any]]) -> None:
        partial = self.folder / "behaviour.part"
        partial.write_text(json.dumps(behaviours))
        partial.replace(self.folder / "behaviour.json")

    def asked(self, video: str = "") -> list[dict[str, Any]]:
        log = self.folder / "requests.jsonl"
        entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        entries.sort(key=lambda entry: entry["begun"])  # each is written at its end
        return [entry for entry in entries if video in ("", entry["id"])]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mkv")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    served = Server(folder)
    yield served
    served.process.kill()
    served.process.wait()


@pytest.fixture
def offer(server: Server, film: Path, tmp_path: Path) -> Callable[..., Lists]:
    """Serve the film under so many ids and list them; the last in the test split."""

    def make(count: int, behaviours: dict[int, dict[str, Any]] | None = None, segments: str = "0,2,4") -> Lists:
        lists = tmp_path / "lists"
        lists.mkdir()
        names = [name(number) for number in range(count)]
        for split, some in (("train", names[:-1]), ("test", names[-1:])):
            (lists / f"{split}.txt").write_text("".join(f"{one}\n" for one in some))
            for one in some:
                (server.folder / split / f"{one}.mkv").hardlink_to(film)
        (lists / "segments.txt").write_text("\n".join(f"{one} {segments}" for one in names))
        server.behave({name(number): behaviour for number, behaviour in (behaviours or {}).items()})
        return read_lists(lists)

    return make


def settings(server: Server, **changes: Any) -> Download:
    quick = {"interval_s": 0, "backoff_s": 0.01, "timeout_s": 1, "attempts": 2, "workers": 8}
    return Download.model_validate({"address": server.address, **quick, **changes})


def states(downloads: Downloads) -> dict[str, str]:
    return {one: record.state for one, record in downloads.records.items()}


def test_a_run_with_every_way_to_fail(offer: Callable[..., Lists], server: Server, film: Path, tmp_path: Path) -> None:
    """Each ends as one state; those that a pause cures are fetched in the end; the next run tries what may succeed."""
    stereo = write_film(tmp_path / "stereo.mkv", layout="stereo")
    page = "<!DOCTYPE html><html><title>Sorry</title></html>"
    size = film.stat().st_size
    ways: list[tuple[dict[str, Any], str]] = [
        ({}, "ok"),
        ({"status": 404}, "gone"),
        ({"status": 410}, "gone"),
        ({"status": 403}, "forbidden"),
        ({"status": 451}, "geo-blocked"),
        ({"status": 503}, "network"),
        ({"status": 503, "times": 1}, "ok"),
        ({"status": 429, "headers": {"Retry-After": "0"}, "times": 1}, "ok"),
        ({"stall": 0}, "network"),
        ({"stall": PARTIAL, "times": 2}, "ok"),
        ({"drop": PARTIAL, "times": 2}, "ok"),
        ({"drop": 0}, "network"),
        ({"drop": PARTIAL, "times": 2, "no_range": True}, "ok"),
        ({"reset": PARTIAL, "times": 2}, "ok"),
        ({"reset": 0}, "network"),
        ({"short": size // 2}, "damaged"),
        ({"body": page, "type": "text/html"}, "wrong-type"),
        ({"body": page}, "wrong-type"),
        ({"body": "", "type": "video/webm"}, "network"),
        ({}, "no-spatial-audio"),
        ({}, "ok"),
    ]
    lists = offer(len(ways), {number: way for number, (way, _) in enumerate(ways)})
    (server.folder / "train" / f"{name(19)}.mkv").unlink()
    shutil.copy(stereo, server.folder / "train" / f"{name(19)}.mkv")
    raw, config = tmp_path / "raw", settings(server)
    downloads = download(lists, raw, config)

    expected = {name(number): state for number, (_, state) in enumerate(ways)}
    assert states(downloads) == expected == states(Downloads(raw))
    assert len((raw / "downloads.jsonl").read_text().splitlines()) == len(ways)
    for record in downloads.records.values():
        assert bool(record.error) == (record.state != "ok")
        if record.state == "ok":
            (file,) = record.files
            assert (file.path, file.bytes) == (f"{record.split}/{record.id}.mkv", size)
            assert file.sha256 == sha256(film) == sha256(raw / file.path)
            assert (record.duration_s, record.channel_order, record.projection) == (5.0, "acn-sn3d", "unknown")
    assert {path.name for path in raw.iterdir()} == {".partial", "downloads.jsonl", "segments.txt", "train", "test"}
    assert [path.name for path in (raw / ".partial").rglob("*") if path.is_file()] == ["lock"]
    assert (raw / "segments.txt").read_bytes() == (tmp_path / "lists" / "segments.txt").read_bytes()

    summary = summarise(lists, downloads, 2.0)
    assert [(one.videos, one.clips, one.listed_clips) for one in summary.splits] == [(7, 14, 60), (1, 2, 3)]

    (server.folder / "requests.jsonl").unlink()
    server.behave({})
    after = download(lists, raw, config)
    final = {name(number) for number in (1, 2, 4, 16, 17, 19)}
    assert {one for one, state in states(after).items() if state != "ok"} == final
    fetched = {name(number) for number, (_, state) in enumerate(ways) if state in ("forbidden", "network", "damaged")}
    assert {entry["id"] for entry in server.asked()} == fetched

    assert set(states(download(lists, raw, config, again=True)).values()) == {"ok", "no-spatial-audio"}


def test_what_ingest_finds(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    download(offer(3, segments="0,2,4"), tmp_path / "raw", settings(server))
    found = list_recordings(tmp_path / "raw")
    assert found.layout.name == "downloaded"
    assert {(one.origin, one.split, one.segments) for one in found.recordings} == {
        (name(0), "train", (0, 2, 4)),
        (name(1), "train", (0, 2, 4)),
        (name(2), "test", (0, 2, 4)),
    }
    assert not [one for one in found.recordings if one.audio or one.refused]


def test_pauses_that_the_server_asks_for(
    offer: Callable[..., Lists], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All workers wait as long; where it is longer than allowed, the run ends and says so."""
    held: list[float] = []
    monkeypatch.setattr(Pace, "hold", lambda pace, seconds: held.append(seconds))
    way = {"status": 429, "headers": {"Retry-After": "700"}}
    lists = offer(6, {0: {**way, "times": 1}})
    assert set(states(download(lists, tmp_path / "raw", settings(server))).values()) == {"ok"}
    assert held == [700]

    server.behave({name(number): {"status": 429, "headers": {"Retry-After": "3600"}} for number in range(6)})
    shutil.rmtree(tmp_path / "raw")
    (server.folder / "requests.jsonl").unlink()
    with pytest.raises(UserError, match=r"2 videos in a row were refused .* the 6 that are left"):
        download(lists, tmp_path / "raw", settings(server, workers=2))
    assert held == [700]
    assert set(states(Downloads(tmp_path / "raw")).values()) == {"rate-limited"}
    assert len(server.asked()) < 6  # what was on its way already, and no more


def test_backoff_where_the_server_says_nothing(
    offer: Callable[..., Lists], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[float, int]] = []

    def backoff(base_s: float, failures: int) -> float:
        waits.append((base_s, failures))
        return 0.001

    monkeypatch.setattr(fetch, "backoff_s", backoff)
    download(
        offer(2, {0: {"status": 503}, 1: {"status": 429, "times": 2}}), tmp_path / "raw", settings(server, attempts=4)
    )
    assert sorted(waits) == [(0.01, 1)] * 2 + [(0.01, 2)] * 2 + [(0.01, 3)]


def test_attempts_that_bring_something_do_not_count(
    offer: Callable[..., Lists], server: Server, tmp_path: Path
) -> None:
    """A connection that breaks again and again, each time a little later, is a slow one."""
    lists = offer(1, {0: {"drop": 150_000}})
    assert set(states(download(lists, tmp_path / "raw", settings(server, attempts=2))).values()) == {"ok"}
    resumed = [entry["Range"] for entry in server.asked() if "Range" in entry]
    offsets = [int(asked[6:-1]) for asked in resumed]
    assert len(offsets) >= 4
    assert offsets == sorted(set(offsets))


def test_limit_of_size(offer: Callable[..., Lists], server: Server, film: Path, tmp_path: Path) -> None:
    lists = offer(1)
    megabytes = film.stat().st_size / 1e6
    small = settings(server, max_mb=megabytes - 0.01)
    assert set(states(download(lists, tmp_path / "raw", small)).values()) == {"too-large"}
    assert not [path for path in (tmp_path / "raw" / ".partial").rglob("*.*") if path.is_file()]
    asked = len(server.asked())
    download(lists, tmp_path / "raw", small)
    assert len(server.asked()) == asked
    assert set(states(download(lists, tmp_path / "raw", settings(server, max_mb=megabytes + 0.01))).values()) == {"ok"}


def test_limit_of_videos(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    lists = offer(4)
    assert list(states(download(lists, tmp_path / "raw", settings(server, workers=1), limit=1))) == [name(0)]
    assert len(states(download(lists, tmp_path / "raw", settings(server), limit=2))) == 3


def test_cookies_and_proxy(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    """The cookies file is read, not written; the proxy is asked for the mirror's address."""
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n.mirror.test\tTRUE\t/\tFALSE\t4102444800\tkey\tvalue\n"
    cookies.write_text(text)
    config = settings(
        server,
        address="http://mirror.test/{split}/{id}.mkv",
        proxy=f"http://127.0.0.1:{server.port}",
        cookies=str(cookies),
    )
    assert set(states(download(offer(1), tmp_path / "raw", config)).values()) == {"ok"}
    assert {(entry["host"], entry.get("Cookie")) for entry in server.asked()} == {("mirror.test", "key=value")}
    assert cookies.read_text() == text


def test_an_empty_user_agent(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    lists = offer(1)
    download(lists, tmp_path / "raw", settings(server, clients=["web+no-agent"]))
    assert {entry.get("User-Agent") for entry in server.asked()} <= {"", None}
    (server.folder / "requests.jsonl").unlink()
    download(lists, tmp_path / "other", settings(server, clients=["web"]))
    assert all("Mozilla" in entry["User-Agent"] for entry in server.asked())


def test_mistakes(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    lists, raw = offer(1), tmp_path / "raw"
    (tmp_path / "bad.txt").write_text("not cookies\n")
    for changes, message in (
        ({"cookies": str(tmp_path / "none.txt")}, r"download\.cookies: .*none\.txt cannot be read: No such file"),
        ({"cookies": str(tmp_path / "bad.txt")}, "yt-dlp does not accept"),
        ({"clients": ["netscape"]}, "yt-dlp does not know 'netscape'; it knows android, "),
    ):
        with pytest.raises(UserError, match=message):
            download(lists, raw, settings(server, **changes))
    assert not server.asked()


def test_a_full_disk_ends_the_run(
    offer: Callable[..., Lists], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yt_dlp.downloader.http import HttpFD

    def full(downloader: object, path: str, mode: str) -> tuple[object, str]:
        return Path("/dev/full").open("wb", 0), path

    monkeypatch.setattr(HttpFD, "sanitize_open", full)
    with pytest.raises(UserError, match="no space left in"):
        download(offer(3), tmp_path / "raw", settings(server))


DRIVER = """
import json, signal, sys
from pathlib import Path
from avsa.acquire.youtube.download import download
from avsa.acquire.youtube.lists import read_lists
from avsa.config import Download
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
lists, raw, config = sys.argv[1:]
download(read_lists(Path(lists)), Path(raw), Download.model_validate_json(config))
"""


def start(tmp_path: Path, config: Download) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "lists"), str(tmp_path / "raw"), config.model_dump_json()]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def partial_bytes(raw: Path) -> int:
    return sum(path.stat().st_size for path in (raw / ".partial").rglob("*.part"))


def wait_for_bytes(raw: Path, more_than: int, process: subprocess.Popen[str]) -> int:
    while (there := partial_bytes(raw)) <= more_than:
        assert process.poll() is None
        time.sleep(0.02)
    return there


def test_killed_again_and_again(offer: Callable[..., Lists], server: Server, film: Path, tmp_path: Path) -> None:
    """SIGKILL, SIGTERM, Ctrl-C: each start goes on where the last one ended, and the bytes are the same in the end."""
    lists = offer(2, {0: {"slow": 60_000}, 1: {"slow": 60_000}})
    raw, config = tmp_path / "raw", settings(server, workers=2, timeout_s=20)
    there = 0
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = start(tmp_path, config)
        wait_for_bytes(raw, there + 20_000, process)
        process.send_signal(number)
        _, errors = process.communicate()
        there = partial_bytes(raw)
        assert process.returncode == {signal.SIGTERM: 143}.get(number, -number)
        if number != signal.SIGKILL:
            assert "stopped with 2 videos to go: run it again to continue" in errors
        assert not (raw / "downloads.jsonl").exists() or not states(Downloads(raw))
    server.behave({})
    assert set(states(download(lists, raw, config)).values()) == {"ok"}
    for record in Downloads(raw).records.values():
        assert (raw / record.files[0].path).read_bytes() == film.read_bytes()
        offsets = [int(entry["Range"][6:-1]) for entry in server.asked(record.id) if "Range" in entry]
        assert offsets == sorted(offsets)
        assert offsets[-1] > 0


def test_a_kill_between_the_ledger_and_the_move(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    lists, raw = offer(2), tmp_path / "raw"
    config = settings(server)
    downloads = download(lists, raw, config)
    record = downloads.records[name(0)]
    (file,) = record.files
    payload = (raw / file.path).read_bytes()
    under_way = partial_path(raw, record.split, record.id, file.client, file.format)
    (raw / file.path).rename(under_way)
    asked = len(server.asked())
    assert download(lists, raw, config).records == downloads.records
    assert (raw / file.path).read_bytes() == payload
    assert not under_way.exists()
    assert len(server.asked()) == asked
    under_way.write_bytes(b"of an earlier attempt")
    settle(record, raw)
    assert (raw / file.path).read_bytes() == payload
    assert not under_way.exists()


def test_two_at_once_do_not_meet(offer: Callable[..., Lists], server: Server, tmp_path: Path) -> None:
    lists = offer(1, {0: {"slow": 300_000}})
    process = start(tmp_path, settings(server))
    wait_for_bytes(tmp_path / "raw", 0, process)
    with pytest.raises(UserError, match="another download is writing to"):
        download(lists, tmp_path / "raw", settings(server))
    assert process.communicate()[1]
    assert process.returncode == 0
    assert set(states(Downloads(tmp_path / "raw")).values()) == {"ok"}


def test_an_error_in_a_worker_ends_the_run(
    offer: Callable[..., Lists], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> Record:
        raise ZeroDivisionError

    monkeypatch.setattr(fetch.Fetcher, "_record", broken)
    with pytest.raises(ZeroDivisionError):
        download(offer(3), tmp_path / "raw", settings(server))


def test_a_real_recording(server: Server, tmp_path: Path) -> None:
    """As YouTube serves one: VP9 and Vorbis with four channels in WebM."""
    real = SHARED / "real" / "sitar360.webm"
    if not real.exists():
        pytest.skip(f"no {real}")
    shutil.copy(real, server.folder / "test" / f"{name(0)}.webm")
    (tmp_path / "test.txt").write_text(name(0))
    (tmp_path / "segments.txt").write_text(f"{name(0)} 0")
    config = settings(server, address=f"http://127.0.0.1:{server.port}/{{split}}/{{id}}.webm")
    record = download(read_lists(tmp_path), tmp_path / "raw", config).records[name(0)]
    assert record.state == "ok"
    assert (record.width, record.height, record.channel_order) == (1920, 1080, "acn-sn3d")
    assert record.duration_s == pytest.approx(10, abs=0.1)
    assert record.files[0].sha256 == sha256(real)
    (found,) = list_recordings(tmp_path / "raw").recordings
    assert found.video == (tmp_path / "raw" / record.files[0].path).absolute()
