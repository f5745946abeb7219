"""Encoders by name: what is found, what is refused, and what tasks may ask of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from avsa.errors import UserError
from avsa.models.encoder import (
    Encoder,
    audio_features,
    is_encoder_name,
    load_encoder,
    require,
    short_name,
    video_features,
)
from avsa.models.network import NetworkSpec, build_network

OWN = """
import torch
from torch import nn

class Tiny(nn.Module):
    video_dim = 3
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
    def video(self, video_BCTHW):
        return video_BCTHW.mean((2, 3, 4)) * self.scale

def tiny(scale="1"):
    return Tiny(float(scale))

def number():
    return 7

def needs(path):
    return Tiny()

SIZE = 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_encoder.py").write_text(OWN)
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield
    sys.modules.pop("own_encoder", None)


def test_the_networks_of_this_project_are_encoders() -> None:
    spec = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16)
    encoder: Encoder = build_network(spec, seed=0).eval()  # the types agree: mypy sees to it
    require(encoder, "any task", "video_dim", "audio_dim", "video", "audio", "video_maps", "translate")
    video_BCTHW = torch.randn(2, 3, 4, 40, 40)
    maps = encoder.video_maps(video_BCTHW)
    assert [tuple(x.shape[1:]) for x in maps] == [(4, 4, 20, 20), (8, 2, 10, 10), (16, 1, 5, 5), (32, 1, 3, 3)]
    torch.testing.assert_close(maps[-1].amax((2, 3, 4)), video_features(encoder, video_BCTHW))


@pytest.mark.usefixtures("own")
def test_a_users_function_is_called() -> None:
    video_BCTHW = torch.randn(2, 3, 4, 5, 5)
    for name, scale in (("own_encoder:tiny", 1.0), ("own_encoder:tiny:2.5", 2.5)):
        features_BD = video_features(load_encoder(name), video_BCTHW)
        torch.testing.assert_close(features_BD, scale * video_BCTHW.mean((2, 3, 4)))


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_encoder", "named package.module:function"),
        ("own_encoder:", "named package.module:function"),
        ("own encoder:tiny", "named package.module:function"),
        ("no_such_module:tiny", "no module 'no_such_module'"),
        ("needs_more:tiny", "no module 'not_installed_anywhere'"),
        ("own_encoder:small", "no function 'small'"),
        ("own_encoder:SIZE", "no function 'SIZE'"),
        ("own_encoder:number", "returned int"),
        ("own_encoder:number:5", "it cannot be called with 1 arguments: too many positional arguments"),
        ("own_encoder:needs", "it cannot be called with 0 arguments: missing a required argument: 'path'"),
        ("torch.nn:Identity", "returned Identity"),
    ],
)
def test_what_is_no_encoder_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_encoder(name)
    assert "\n" not in str(error.value)


def test_the_documented_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-encoder.md").read_text(encoding="utf-8")
    (tmp_path / "documented_encoder.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_encoder("documented_encoder:own:random").eval()
    require(encoder, "all tasks", "video_dim", "video", "video_maps", "audio_dim", "audio")
    assert video_features(encoder, torch.zeros(2, 3, 2, 16, 16)).shape == (2, 512)
    audio_BCTM = torch.randn(3, 7, 10, 8)
    expected = [audio_BCTM.mean((2, 3)), audio_BCTM.flatten(2).std(2)]
    torch.testing.assert_close(audio_features(encoder, audio_BCTM), torch.cat(expected, 1))


@pytest.mark.usefixtures("own")
def test_a_task_says_what_it_misses() -> None:
    encoder = load_encoder("own_encoder:tiny")
    require(encoder, "ucf101-1", "video", "video_dim")
    with pytest.raises(UserError, match=r"^avc-bin needs audio, audio_dim, which the encoder Tiny does not have$"):
        require(encoder, "avc-bin", "video", "audio", "audio_dim")


def test_features_of_another_shape_are_refused() -> None:
    encoder: Any = SimpleNamespace(video=nn.Identity(), audio=nn.Flatten(), video_dim=6, audio_dim=6)
    assert audio_features(encoder, torch.zeros(4, 2, 3)).shape == (4, 6)
    with pytest.raises(UserError, match="of 4 crops gives 4×2×3: 4×6 features are expected"):
        video_features(encoder, torch.zeros(4, 2, 3))
    with pytest.raises(UserError, match="of 4 crops gives 4×8: 4×6"):
        audio_features(encoder, torch.zeros(4, 2, 4))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("avsa.models.torchvision:r2plus1d_18", "r2plus1d_18"),
        ("avsa.models.torchvision:r2plus1d_18:random", "r2plus1d_18-random"),
        ("own:net:/some where/weights v2.pth", "net-some-where-weights-v2"),
        ("own:net:run1/best.pt", "net-run1-best"),
        ("own:net:../best.pt", "net-best"),
        ("own:net:best.pt", "net-best"),
    ],
)
def test_short_names_are_names_of_files(name: str, short: str) -> None:
    assert is_encoder_name(name)
    assert not is_encoder_name("avsa")
    assert short_name(name) == short
