"""The ingest on a Dask cluster of real processes: the same bytes, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from clips_media import Writer, field, panorama, store_bytes, write_recording
from distributed import Client
from fatal import Fatal

from avsa.clips import cluster
from avsa.clips.cluster import convert_on_cluster
from avsa.clips.convert import Index
from avsa.clips.ingest import ingest
from avsa.clips.recordings import find_recordings
from avsa.clips.site import Site, versions
from avsa.config import Clips
from avsa.errors import UserError

PATIENCE_S = 240.0  # for processes to start on a machine that is busy
CONFIG = Clips(clip_s=1.0, height=64, channel_order="acn-sn3d", shard_mb=0.6)
RECORDINGS = 6


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(RECORDINGS):
        write_recording(folder, f"r{number}", 2.0, sound_CS=field(2, seed=number))
    Writer(folder / "r3x.mp4").add(panorama(32))
    return folder


@pytest.fixture(scope="module")
def undisturbed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ingest(raw, out, CONFIG, jobs=1)
    return store_bytes(out)


def wait_until(condition: Callable[[], bool], every_s: float = 0.05) -> None:
    """Give up with an error rather than wait without end."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(every_s)


class Cluster:
    """A scheduler, and workers as they are asked for; all are ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        about = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(about))
        wait_until(lambda: about.exists() and bool(about.read_text()))
        self.address: str = json.loads(about.read_text())["address"]

    def add(self, *options: str) -> subprocess.Popen[bytes]:
        """A worker: without a nanny nobody starts it again when it dies."""
        folder = ("--local-directory", str(self.folder))
        return self._start("worker", self.address, "--nworkers", "1", "--memory-limit", "0", *folder, *options)

    def wait_for(self, *threads: int) -> None:
        """Until the workers that have joined are these, by their threads."""
        with Client(self.address, set_as_default=False) as client:
            wait_until(lambda: sorted(client.nthreads().values()) == sorted(threads))

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        with (self.folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.end()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:1", "SILENT", "PAGES"])
def test_no_scheduler(raw: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_S", 1.0)
    pages = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # as a dashboard's port
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.closing(pages.socket):
        ports = {"SILENT": silent.getsockname()[1], "PAGES": pages.server_port}  # the first takes the connection only
        address = f"tcp://127.0.0.1:{ports[address]}" if address in ports else address
        with pytest.raises(UserError, match=f"^no Dask scheduler answers at {re.escape(address)}: check") as caught:
            ingest(raw, tmp_path / "out", CONFIG, cluster=address)
        pages.shutdown()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_workers(raw: Path, tmp_path: Path, empty: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_WORKERS_S", 0.2)
    with pytest.raises(
        UserError, match=f"{empty.address} has no workers: start some with `dask worker {empty.address}"
    ):
        ingest(raw, tmp_path / "out", CONFIG, cluster=empty.address)


def test_what_a_worker_must_share(raw: Path, tmp_path: Path) -> None:
    site = Site.founded(tmp_path)
    site.check()
    with pytest.raises(UserError, match=rf"^the worker on .* has av {versions()['av']} instead of 17.0: install"):
        dataclasses.replace(site, versions={**versions(), "av": "17.0"}).check()
    with pytest.raises(UserError, match="has another state of avsa's code"):
        dataclasses.replace(site, versions={**versions(), "avsa": "0"}).check()
    with pytest.raises(
        UserError, match=f"does not see the folder {tmp_path}/elsewhere: put the clip store on a shared"
    ):
        dataclasses.replace(site, mark=tmp_path / "elsewhere" / site.mark.name).check()
    with pytest.raises(UserError, match="does not see the folder"):  # one of the same name on another disk
        dataclasses.replace(site, secret="another").check()
    recording = find_recordings(raw)[0]
    site.check_files(recording, recording.stamp())
    with pytest.raises(UserError, match=r"does not see r0.mp4 as it is here: put the recordings on a shared disk"):
        site.check_files(dataclasses.replace(recording, video=Path("/nowhere/r0.mp4")), recording.stamp())


def test_a_worker_killed_in_the_middle(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], empty: Cluster
) -> None:
    doomed, survivor = empty.add("--nthreads", "1", "--no-nanny"), empty.add("--nthreads", "1", "--no-nanny")
    empty.wait_for(1, 1)  # else one may have done all before the other is there
    work, in_the_middle = tmp_path / ".out.partial", list[Path]()

    def kill() -> None:
        while len(in_the_middle) < 2 and ingesting.is_set():
            time.sleep(0.001)
            if len(list(work.glob("*.part"))) == 2:
                for process in (doomed, survivor):
                    os.kill(process.pid, signal.SIGSTOP)
                in_the_middle[:] = work.glob("*.part")
                if len(in_the_middle) == 2:
                    os.kill(doomed.pid, signal.SIGKILL)
                for process in (doomed, survivor):
                    os.kill(process.pid, signal.SIGCONT)

    ingesting = threading.Event()
    ingesting.set()
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        cluster_summary = ingest(raw, tmp_path / "out", CONFIG, cluster=empty.address)
    finally:
        ingesting.clear()
        killer.join(10)
    assert doomed.wait(10) == -signal.SIGKILL
    assert len({path.stem for path in in_the_middle}) == 2
    assert cluster_summary.recordings == RECORDINGS + 1
    assert cluster_summary.speed > 0
    assert store_bytes(tmp_path / "out") == undisturbed
    assert not work.exists()


def test_a_recording_that_kills_every_worker(raw: Path, tmp_path: Path, empty: Cluster) -> None:
    for process in empty.processes[1:]:
        process.kill()
    empty.add("--nthreads", "1")
    good = find_recordings(raw)[:3]
    fatal = Fatal(tmp_path / "tries")
    todo = [("0", good[0]), ("1", fatal), ("2", good[1]), ("3", good[2])]
    work = tmp_path / "work"
    work.mkdir()
    keys = convert_on_cluster(todo, CONFIG, work, empty.address, patience_s=15.0)  # type: ignore[arg-type]
    assert list(keys) == ["0", "1", "2", "3"]
    results = [Index.model_validate_json((work / f"{key}.json").read_bytes()) for key, _ in todo]
    assert [len(result.pieces) for result in results] == [2, 0, 2, 2]
    [refusal] = results[1].refused
    assert (refusal.check, refusal.source) == ("crash", "fatal.mp4")
    assert refusal.reason.startswith("it brought 3 workers down")
    assert fatal.tries.stat().st_size == 3
    assert not [*work.glob("*.busy"), *work.glob("site-*")]


def test_other_versions_there(raw: Path, tmp_path: Path, empty: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsa.clips.site.versions", lambda: {**versions(), "numpy": "1.0"})
    with pytest.raises(UserError, match=r"^the worker on .* has numpy .* instead of 1.0: install the same on all"):
        ingest(raw, tmp_path / "out", CONFIG, cluster=empty.address)


def test_workers_of_several_threads(raw: Path, tmp_path: Path, empty: Cluster) -> None:
    empty.add("--nthreads", "2", "--no-nanny")
    empty.wait_for(1, 2)
    with pytest.raises(UserError, match=r"^worker tcp://.* has several threads: start workers with --nthreads 1"):
        ingest(raw, tmp_path / "out", CONFIG, cluster=empty.address)


def test_the_scheduler_killed_in_the_middle(
    raw: Path, tmp_path: Path, undisturbed: dict[str, bytes], empty: Cluster
) -> None:
    empty.processes[-1].kill()  # the worker of several threads
    empty.wait_for(1)  # until the scheduler knows it
    work = tmp_path / ".out.partial"

    def kill() -> None:
        wait_until(lambda: bool(list(work.glob("*.part"))), every_s=0.001)
        empty.scheduler.kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(UserError, match="went away: nothing is lost, run ingest again to continue"):
        ingest(raw, tmp_path / "out", CONFIG, cluster=empty.address)
    ingest(raw, tmp_path / "out", CONFIG, jobs=1)
    assert store_bytes(tmp_path / "out") == undisturbed


def test_workers_and_a_scheduler_that_hang(
    raw: Path, tmp_path: Path, empty: Cluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are alive and take connections, and never answer: the ingest ends all the same, with one line."""
    monkeypatch.setattr(cluster, "_ANSWER_S", 2.0)
    monkeypatch.setattr(cluster, "_VISIBLE_S", 2.0)
    monkeypatch.setattr(cluster, "_LOOK_S", 0.5)
    monkeypatch.setattr(cluster, "_DESERTED_S", 3.0)
    hanging = Cluster(tmp_path_factory.mktemp("hanging"))
    try:
        worker = hanging.add("--nthreads", "1", "--no-nanny")
        hanging.wait_for(1)
        os.kill(worker.pid, signal.SIGSTOP)

        def hang() -> None:
            wait_until(lambda: bool(list((tmp_path / ".out.partial").glob("site-*"))))
            time.sleep(6)  # the worker has been waited for
            os.kill(hanging.scheduler.pid, signal.SIGSTOP)

        threading.Thread(target=hang, daemon=True).start()
        with pytest.raises(UserError, match="has had no worker, or has not answered, for") as caught:
            ingest(raw, tmp_path / "out", CONFIG, cluster=hanging.address)
        assert "\n" not in str(caught.value)
    finally:
        hanging.end()
