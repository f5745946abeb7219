"""Naming a segmentation network: every way, every mistake; nothing in a file is executed."""

from __future__ import annotations

import json
import os
import re
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracle import CLASSES, COLOURS, Oracle, write_torchscript
from torch import Tensor, nn
from torchvision import models

from avsa.acquire.segmenter import Segmenter, load_segmenter
from avsa.errors import UserError


def views(*classes: int) -> Tensor:
    """Plain views in the classes' colours, N×3×8×8."""
    return torch.tensor([COLOURS[i] for i in classes], dtype=torch.uint8)[..., None, None].expand(-1, -1, 8, 8)


def test_torchscript_file(tmp_path: Path) -> None:
    segmenter = load_segmenter(str(write_torchscript(tmp_path, Oracle(), size=8)))
    assert segmenter.classes == CLASSES
    confidence = segmenter.confidences(views(4, 0, 3))
    assert confidence.argmax(1)[:, 0, 0].tolist() == [4, 0, 3]
    torch.testing.assert_close(confidence.sum(1), torch.ones(3, 8, 8))
    before = segmenter.identity
    write_torchscript(tmp_path, Oracle(sharpness=50), size=8)
    assert load_segmenter(str(tmp_path / "model.pt")).identity != before


def test_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    assert load_segmenter("oracle:Oracle").confidences(views(2)).argmax(1).unique().tolist() == [2]
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "other_models.py").write_text(
        "from oracle import Oracle\ndef with_argument(text):\n    return Oracle(float(text))\nnumber = lambda: 3\n"
    )
    assert load_segmenter("other_models:with_argument:7").network.sharpness == 7
    for name, message in {
        "nowhere.models:f": "no module 'nowhere' here or among the installed ones",
        "other_models:missing": "other_models has no function 'missing'",
        "other_models:number": "returned int: a torch.nn.Module is expected",
        "torch.nn:Identity": r'the attribute classes of torch.nn:Identity must be \{"things": \[names\], "stuff"',
    }.items():
        with pytest.raises(UserError, match=message):
            load_segmenter(name)


def test_torchvision_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights come from torch.hub's folder, or are downloaded to it; here they are an untrained network's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "lraspp_mobilenet_v3_large"
    weights = models.get_model_weights(name).DEFAULT
    cached = tmp_path / "hub" / "checkpoints" / Path(weights.url).name

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        UserError, match=f"the weights of {name} cannot be had: .*service not known.*; put an intact"
    ) as e:
        load_segmenter(name)
    assert weights.url in str(e.value)
    assert str(cached.parent) in str(e.value)

    network = models.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    torch.save(network.state_dict(), cached)
    segmenter = load_segmenter(name)
    assert segmenter.classes["things"][:2] == ["__background__", "aeroplane"]
    picture = torch.rand(1, 3, 40, 40)
    transformed = weights.transforms(resize_size=40)(picture)
    expected = network.eval()(transformed)["out"].softmax(1)
    found = segmenter.confidences((picture * 255).round().to(torch.uint8))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0.05)

    cached.write_bytes(cached.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be had"):
        load_segmenter(name)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(
        UserError, match=r"segment.model .*model.pt: no such file, nor a network of torchvision \(deeplab"
    ):
        load_segmenter(str(path))
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"model.pt: no classes.json beside it"):
        load_segmenter(str(path))
    classes = tmp_path / "classes.json"
    broken: tuple[object, ...] = (
        [],
        {"things": ["a"]},
        {"things": "ab", "stuff": []},
        {"things": [], "stuff": []},
        {"things": [1], "stuff": []},
    )
    for wrong in broken:
        classes.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=r"classes.json must be"):
            load_segmenter(str(path))
    classes.write_text("{")
    with pytest.raises(UserError, match=r"classes.json cannot be read"):
        load_segmenter(str(path))
    classes.write_text(json.dumps(CLASSES))
    for content in (b"not a model", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not an intact TorchScript file") as caught:
            load_segmenter(str(path))
        assert "\n" not in str(caught.value)
    torch.save({"bomb": Bomb(tmp_path / "boom")}, path)
    with pytest.raises(UserError, match="is not an intact TorchScript file"):
        load_segmenter(str(path))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("output", "gives"),
    [
        (lambda views: views, "2×3×8×8"),
        (lambda views: views.mean((2, 3)), "2×3"),
        (lambda views: {"logits": views}, "NoneType"),
        (lambda views: [views], "list"),
        (lambda views: views.new_zeros(1, 6, 8, 8), "1×6×8×8"),
    ],
)
def test_wrong_output(output: Callable[[Tensor], object], gives: str) -> None:
    class Wrong(nn.Module):
        def forward(self, views_N3hw: Tensor) -> object:
            return output(views_N3hw)

    wrong = Segmenter("x.pt", "", CLASSES, Wrong())
    expected = f"the model x.pt gives {gives} for 2 views: logits of 2×6×height×width are expected, as it has 6 classes"
    with pytest.raises(UserError, match=re.escape(expected)):
        wrong.confidences(views(1, 2))
