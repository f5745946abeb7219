"""The torchrun of docker/kubernetes/multi-node.yaml, with two agents on this machine in place of two nodes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import engine_toy
import psutil
import pytest
import yaml
from engine_toy import FileTracker, Job
from test_loop import assert_same, state

MULTI_NODE = Path(__file__).parents[2] / "docker" / "kubernetes" / "multi-node.yaml"


def agent(folder: Path, port: int, program: list[str]) -> subprocess.Popen[bytes]:
    """What a pod of the file does, with a process for each node, and the program in place of avsa."""
    (job,) = (found for found in yaml.safe_load_all(MULTI_NODE.read_text()) if found["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["torchrun"]
    arguments = container["args"][: container["args"].index("-m")]
    here = {"--rdzv-endpoint": f"127.0.0.1:{port}", "--nproc-per-node": "1"}
    names = [argument.partition("=")[0] for argument in arguments]
    assert here.keys() <= set(names)
    options = [f"{name}={here[name]}" if name in here else whole for name, whole in zip(names, arguments, strict=True)]
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program]
    given = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **given, "OMP_NUM_THREADS": "1"})


def lose(node: subprocess.Popen[bytes]) -> None:
    """Everything on the node ends at once."""
    processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
    for process in processes:
        process.kill()
    node.wait()


def test_two_nodes_equal_one_process_and_survive_the_loss_of_one(tmp_path: Path) -> None:
    long = {"length": 120, "engine": {"checkpoint_every_s": 0.1}}
    jobs: dict[str, dict[str, Any]] = {"contrast": {"task": "contrast", "dropout": False}, "unbroken": long}
    program = [engine_toy.__file__, json.dumps({**jobs, "broken": long})]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nodes = [agent(tmp_path, port, program)]
    try:
        until = time.monotonic() + 400
        while not answers(port):  # the first node is the one that the endpoint names
            assert nodes[0].poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        nodes.append(agent(tmp_path, port, program))
        record = tmp_path / "broken" / "metrics.jsonl"
        while not record.exists() or record.read_bytes().count(b"\n") < 20:
            assert time.monotonic() < until
            time.sleep(0.02)
        lose(nodes[1])
        steps = FileTracker(record).last_step()
        nodes[1] = agent(tmp_path, port, program)
        assert [node.wait(400) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            with suppress(psutil.NoSuchProcess):
                lose(node)
    assert steps < 480
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert_same(state(unbroken), state(broken))  # not the one before: its step depends on the loss
    assert FileTracker(unbroken / "metrics.jsonl").entries() == FileTracker(broken / "metrics.jsonl").entries()

    engine_toy.run(tmp_path / "alone", Job(**jobs["contrast"]))
    left, right = (FileTracker(tmp_path / name / "metrics.jsonl").entries() for name in ("alone", "contrast"))
    for ours, theirs in zip(left, right, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
