"""Signals in real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TWO_SIGNALS = """
import os, signal, time
from avsa.engine.signals import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.{name})
    os.kill(os.getpid(), signal.{name})  # at once: the same request
    print(stop.number, flush=True)
    time.sleep(1.1)
    os.kill(os.getpid(), signal.{name})
    print("survived", flush=True)
"""

FORKED = """
import os, signal
from avsa.engine.signals import StopRequest
with StopRequest() as stop:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C reaches the children too
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), stop.number)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_asks_and_a_later_one_ends(name: str) -> None:
    number = signal.Signals[name]
    code = TWO_SIGNALS.format(name=name)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout.split() == [str(int(number))]
    assert process.returncode == 128 + number


def test_loader_processes_ignore_interrupts_and_can_be_ended() -> None:
    process = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["143", "0"]
