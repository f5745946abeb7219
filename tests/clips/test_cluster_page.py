"""Every command of docs/cluster-ingest.md, run in the order of the page."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from clips_media import store_bytes, write_recording

from avsa.clips.ingest import ingest
from avsa.config import Clips

PAGE = (Path(__file__).parents[2] / "docs" / "cluster-ingest.md").read_text(encoding="utf-8")
CLIPS = {"clip_s": 1.0, "height": 64, "channel_order": "acn-sn3d"}


def test_the_page_as_it_stands(tmp_path: Path) -> None:
    raw = tmp_path / "data/raw/mine"
    for number in range(3):
        write_recording(raw, f"r{number}", 2.0)
    (tmp_path / "params.yaml").write_text(f"clips: {CLIPS}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)).replace("8786", port)
    assert commands.count("avsa") == 2
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "DASK_DISTRIBUTED__DASHBOARD__LINK": "",
    }
    shell = subprocess.Popen(
        ["bash", "-ec", commands],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(300, os.killpg, (shell.pid, signal.SIGKILL))  # else who is not ended would be waited for
    guard.start()
    try:
        assert shell.stdout is not None
        lines = []
        for line in shell.stdout:  # the scheduler and the workers hold it open
            lines.append(line)
            if "every" in line or "all bytes" in line:
                break
        assert shell.wait(30) == 0
    finally:
        guard.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    text = "".join(lines)
    assert re.search(r"ingest: 6 clips, 0.00167 h, of 3 recordings; 0 refused; [\d.]+ x real time per core", text)
    assert "6 clips in 1 shards" in text
    ingest(raw, tmp_path / "here", Clips(**CLIPS), jobs=1)  # type: ignore[arg-type]
    assert store_bytes(tmp_path / "data/clips/mine") == store_bytes(tmp_path / "here")
