"""The adapter of torchvision's R(2+1)D-18 against torchvision itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video import R2Plus1D_18_Weights
from torchvision.models.video import r2plus1d_18 as original
from torchvision.transforms import functional as pictures

from avsa.data.views import PICTURE_MEAN, PICTURE_STD
from avsa.errors import UserError
from avsa.models.encoder import load_encoder, require, short_name
from avsa.models.torchvision import TorchvisionVideo, r2plus1d_18
from avsa.models.video import TemporalConv


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = original(num_classes=7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):  # as after training: every number of the state matters
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


@pytest.fixture(scope="module")
def ours(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> TorchvisionVideo:
    path = tmp_path_factory.mktemp("weights") / "kinetics.pth"
    torch.save(theirs.state_dict(), path)
    return r2plus1d_18(str(path)).eval()


def rgb(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_features_and_maps_are_torchvisions(theirs: Any, ours: TorchvisionVideo) -> None:
    """From the picture on: theirs through the transforms that belong to the weights, ours through our views' scale."""
    frames_BTCHW = rgb(2, 4, 3, 40, 40)
    prepare = R2Plus1D_18_Weights.KINETICS400_V1.transforms(resize_size=[40, 40], crop_size=[40, 40])
    imagenet_BTCHW: Tensor = pictures.normalize(frames_BTCHW, list(PICTURE_MEAN), list(PICTURE_STD))
    video_BCTHW = imagenet_BTCHW.transpose(1, 2)

    maps, x = [], theirs.stem(prepare(frames_BTCHW))
    for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = stage(x)
        maps.append(x)
    for found, expected in zip(ours.video_maps(video_BCTHW), maps, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    logits = theirs.fc(ours.video(video_BCTHW))
    torch.testing.assert_close(logits, theirs(prepare(frames_BTCHW)), rtol=1e-4, atol=1e-4)


def test_no_temporal_convolution_is_left_whose_gradients_are_unsound() -> None:
    """Three-dimensional kernels over two frames have gradients in bf16 that are partly unwritten memory."""
    convolutions = [m for m in r2plus1d_18("random").modules() if isinstance(m, nn.Conv3d)]
    temporal = [m for m in convolutions if m.kernel_size == (3, 1, 1)]
    assert len(temporal) == 1 + 4 * 2 * 2  # the stem; two in each of two blocks of four stages
    assert {type(m) for m in temporal} == {TemporalConv}
    assert all(m.kernel_size[0] == 1 for m in convolutions if m not in temporal)


def test_it_is_an_encoder_without_sound() -> None:
    first, again = (load_encoder("avsa.models.torchvision:r2plus1d_18:random") for _ in range(2))
    require(first, "segmentation", "video", "video_dim", "video_maps")
    with pytest.raises(UserError, match="avsa-bin needs audio, which"):
        require(first, "avsa-bin", "video", "audio")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.mark.usefixtures("no_connection")
def test_weights_that_cannot_be_had_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r2plus1d_18-91a641e6.pth: cannot be downloaded .*r2plus1d_18:FILE$"):
        r2plus1d_18()
    with pytest.raises(UserError, match="no such file, and not one of KINETICS400_V1, DEFAULT, random"):
        r2plus1d_18("KINETICS400_V2")
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(UserError, match=r"text.pth: cannot be read as a checkpoint"):
        r2plus1d_18(str(tmp_path / "text.pth"))
    torch.save({"epoch": 3, "model": {}}, tmp_path / "whole.pth")
    with pytest.raises(UserError, match=r"save network.state_dict\(\)"):
        r2plus1d_18(str(tmp_path / "whole.pth"))
    torch.save({"stem.0.weight": torch.zeros(45, 3, 1, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match=r"part.pth: checkpoint of another architecture: stem.1.weight is missing"):
        r2plus1d_18(str(tmp_path / "part.pth"))


def test_weights_of_another_hash_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError('invalid hash value (expected "91a641e6", got "00000000")')

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(UserError, match=r"^http\S+: cannot be downloaded and read \(invalid hash value .*FILE$"):
        r2plus1d_18()


def test_results_are_named_by_the_function() -> None:
    assert short_name("avsa.models.torchvision:r2plus1d_18") == "r2plus1d_18"
