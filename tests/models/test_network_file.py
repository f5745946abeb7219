"""A network's file: the same bytes for the same network, and what a full disk leaves."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avsa.errors import UserError
from avsa.models.checkpoint import load_network, save_network
from avsa.models.network import NetworkSpec, build_network

SPEC = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16)

ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from avsa.errors import UserError
from avsa.models.checkpoint import save_network
from avsa.models.network import NetworkSpec, build_network

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
network = build_network(NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16), seed=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # the system refuses to write on
try:
    save_network(Path(sys.argv[1]), network, {})
except UserError as error:
    print(error)
"""


def test_the_same_network_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_network(tmp_path / name / "network.pt", build_network(SPEC, seed=3), {"run": "untrained", "seed": 3})
    first, second = (hashlib.sha256((tmp_path / name / "network.pt").read_bytes()).hexdigest() for name in ("a", "b"))
    assert first == second
    network, provenance = load_network(tmp_path / "a" / "network.pt")
    assert provenance == {"run": "untrained", "seed": 3}
    expected = build_network(SPEC, seed=3).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_a_full_disk_leaves_the_network_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    save_network(path, build_network(SPEC, seed=0), {"run": "before"})
    before = path.read_bytes()
    assert len(before) > 200_000
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"{path}: cannot be written: ")
    assert len(result.stdout.splitlines()) == 1
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["network.pt"]


@pytest.mark.parametrize("change", [{"video_depth": 12}, {"translator": "lstm"}, {"translator_heads": 3}, {"new": 1}])
def test_settings_of_no_network_are_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "network.pt"
    save_network(path, build_network(SPEC, seed=0), {})
    content = torch.load(path, weights_only=True)
    torch.save({**content, "spec": {**content["spec"], **change}}, path)
    with pytest.raises(UserError, match=r"network.pt: its network has settings that this version does not know$"):
        load_network(path)


def test_half_a_file_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    save_network(path, build_network(SPEC, seed=0), {})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_network(path)
