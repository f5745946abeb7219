"""`avsa convert` on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import avsa

from avsa.data.statistics import Statistics
from avsa.models.checkpoint import load_network, save_network
from avsa.models.network import NetworkSpec, build_network


def test_checkpoints_and_statistics(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16)
    network = build_network(spec, seed=0)
    save_network(tmp_path / "network.pt", network, {"run": "avsa"})
    assert avsa(tmp_path, "convert", "network.pt", "checkpoint.pth.tar") == 0
    assert avsa(tmp_path, "convert", "checkpoint.pth.tar", "checkpoints/again-0/network.pt") == 0
    again, provenance = load_network(tmp_path / "checkpoints/again-0/network.pt")
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert provenance["file"] == "checkpoint.pth.tar"
    np.savez(tmp_path / "published.npz", mean=np.full(128, -30.0), std=np.full(128, 20.0))
    assert avsa(tmp_path, "convert", "published.npz", "data/statistics/yt360.npz") == 0
    assert Statistics.load(tmp_path / "data/statistics/yt360.npz").mean_CM.shape == (4, 128)
    assert capfd.readouterr().out.splitlines() == [
        "network.pt: avsa checkpoint, now checkpoint.pth.tar",
        "checkpoint.pth.tar: avsa checkpoint, now checkpoints/again-0/network.pt",
        "published.npz: published statistics, now data/statistics/yt360.npz",
    ]


def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": {}}, tmp_path / "other.pth.tar")
    for arguments, expected in (
        (("nope.pth.tar", "network.pt"), "nope.pth.tar: no such checkpoint"),
        (("nope.npz", "statistics.npz"), "nope.npz: no such file"),
        (
            ("other.pth.tar", "other.pth.tar"),
            "other.pth.tar: would be overwritten by its other form: name another file",
        ),
        (
            ("other.pth.tar", "network.pt"),
            "other.pth.tar: neither a checkpoint of this project nor a published one: it holds epoch, weights",
        ),
    ):
        assert avsa(tmp_path, "convert", *arguments) == 2
        assert capfd.readouterr().err == f"avsa: {expected}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth.tar"]
