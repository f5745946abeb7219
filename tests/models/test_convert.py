"""Published checkpoints: the same outputs as the published networks, exact round trips, one line for every fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published_network import (
    FOUR,
    TWO,
    Reference,
    Shapes,
    audio_shapes,
    classifier_shapes,
    filled,
    fpn_shapes,
    head_shapes,
    pretrained,
    translator_shapes,
    video_shapes,
)
from torch import Tensor

import avsa
from avsa.errors import UserError
from avsa.models.checkpoint import load_into, load_network, save_network
from avsa.models.convert import convert, load_head
from avsa.models.heads import BinaryHead
from avsa.models.network import AVSANetwork, NetworkSpec, build_network
from avsa.models.translator import TranslatorKind

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
SMALL = 4  # channels of the stem: features are 8 times as many


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def close(ours: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(ours.double(), reference, atol=1e-4, rtol=1e-4)


def test_the_names_are_the_published_ones() -> None:
    path = SHARED / "released" / "checkpoint_keys.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    translators = translator_shapes("losses.0.v2a_transformer.") | translator_shapes("losses.0.a2v_transformer.")
    ours: dict[str, Shapes] = {
        'pretrain checkpoint, entry "model"': video_shapes("module.video_model.") | audio_shapes("module.audio_model."),
        'pretrain checkpoint, entry "train_criterion" (AVSA configs)': translators | head_shapes("losses.0.", FOUR),
        'pretrain checkpoint, entry "train_criterion" (InstDisc config)': head_shapes("losses.0.", TWO),
        "segmentation head, vonly": fpn_shapes("fpn."),
        "segmentation head, audio": fpn_shapes("fpn.", 512),
        "segmentation head, audio_ctx": fpn_shapes("fpn.", 3 * 512),
        "binary head": classifier_shapes(1024, 512, 2),
    }
    published = json.loads(path.read_text())
    assert {k: {n: list(s) for n, s in shapes.items()} for k, shapes in ours.items()} == published


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """video_BCTHW, audio_BCTM, features_BKD at the published sizes."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 8, 112, 112), (3, 4, 100, 128), (2, 4, 512))
    video, audio, features = (torch.randn(shape, generator=generator) for shape in shapes)
    return video[:1], audio, features.abs()


def check_encoders(network: AVSANetwork, content: Any, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the encoders with the reference; the features."""
    reference = Reference(content["model"])
    with torch.no_grad():
        video_BD, audio_BD = network.video(video), network.audio(audio)
        expected = reference.video(video, "module.video_model."), reference.audio(audio, "module.audio_model.")
    close(video_BD, expected[0])
    close(audio_BD, expected[1])
    assert 0.05 < float(expected[0].std(1).mean()) < 50  # features that could differ
    assert 0.05 < float(expected[1].std(1).mean()) < 50
    return video_BD, audio_BD


def check_translators(network: AVSANetwork, content: Any, features: Tensor) -> None:
    reference = Reference(content["train_criterion"])
    with torch.no_grad():
        from_video, from_audio = network.translate(features, features.flip(0, 2))
    v2a = reference.translate(features, "losses.0.v2a_transformer.")
    a2v = reference.translate(features.flip(0, 2), "losses.0.a2v_transformer.")
    close(from_video, v2a)
    close(from_audio, a2v)
    assert float(v2a.std()) > 0.05
    assert not torch.allclose(v2a[0, 0], v2a[0, 1])


def test_an_avsa_checkpoint_gives_the_published_outputs(tmp_path: Path, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    content = pretrained("avsa", 1)
    network = avsa.load(write(tmp_path / "checkpoint.pth.tar", content))
    assert network.spec == NetworkSpec()
    assert not network.training
    features = dict(zip(("video", "audio"), check_encoders(network, content, *inputs[:2]), strict=True))
    check_translators(network, content, inputs[2])
    features |= {"video_pred": inputs[2], "audio_pred": inputs[2]}
    reference = Reference(content["train_criterion"])
    for name, of in features.items():
        head = network.get_submodule(f"{name}_head")
        expected = reference.linear(of.double(), f"losses.0.{name}_head.projection.0")
        with torch.no_grad():
            close(head(of), expected)

    assert convert(tmp_path / "checkpoint.pth.tar", tmp_path / "network.pt") == "avsa"
    again, provenance = load_network(tmp_path / "network.pt")
    assert same(network.state_dict(), again.state_dict())
    assert provenance["epoch"] == 50
    assert convert(tmp_path / "network.pt", tmp_path / "back.pth.tar") == "avsa"
    back = torch.load(tmp_path / "back.pth.tar", weights_only=True)
    assert back.keys() == {"epoch", "model", "train_criterion"}
    assert back["epoch"] == 50
    assert same(back["model"], content["model"])
    assert same(back["train_criterion"], content["train_criterion"])


def test_an_instance_discrimination_checkpoint_gives_the_published_outputs(
    tmp_path: Path, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    content = pretrained("instdisc", 3)
    path = write(tmp_path / "checkpoint.pth.tar", content)
    assert convert(path, tmp_path / "network.pt") == "instdisc"
    network = avsa.load(tmp_path / "network.pt")
    reference = Reference(content["train_criterion"])
    video_BD, audio_BD = check_encoders(network, content, inputs[0][..., :64, :64], inputs[1][:1])
    for head, features, name in (
        (network.video_head, video_BD, "losses.0.video_projection.projection.0"),
        (network.audio_head, audio_BD, "losses.0.audio_projection.projection.0"),
    ):
        with torch.no_grad():
            close(head(features), reference.linear(features.double(), name))
    for ours in (network, avsa.load(path)):
        with pytest.raises(UserError, match="holds no trained v2a_transformer"):
            ours.translate(inputs[2], inputs[2])
        with pytest.raises(UserError, match="holds no trained video_pred_head"):
            ours.video_pred_head(video_BD)
    convert(tmp_path / "network.pt", tmp_path / "back.pth.tar")
    back = torch.load(tmp_path / "back.pth.tar", weights_only=True)
    assert back.keys() == {"epoch", "model", "train_criterion"}
    assert same(back["model"], content["model"])
    assert same(back["train_criterion"], content["train_criterion"])


@pytest.mark.parametrize(
    ("depth", "layers", "context"), [(10, 1, True), (18, 4, True), (18, 0, True), (10, 2, False), (18, 1, False)]
)
def test_other_depths_and_translators_are_seen_in_the_names(
    tmp_path: Path, depth: int, layers: int, context: bool
) -> None:
    content = pretrained("avsa", 5, width=SMALL, depth=depth, layers=layers, context=context)
    network = avsa.load(write(tmp_path / "checkpoint.pth.tar", content))
    kind = ("transformer" if context else "mlp") if layers else "none"
    assert (network.spec.video_depth, network.spec.translator, network.spec.translator_depth) == (depth, kind, layers)
    generator = torch.Generator().manual_seed(0)
    video, audio = torch.randn(2, 3, 8, 32, 32, generator=generator), torch.randn(2, 4, 40, 32, generator=generator)
    check_encoders(network, content, video, audio)
    features = torch.randn(2, 3, 8 * SMALL, generator=generator)
    if layers:
        reference = Reference(content["train_criterion"])
        with torch.no_grad():
            from_video, from_audio = network.translate(features, features + 1)
        v2a = reference.translate(features, "losses.0.v2a_transformer.")
        a2v = reference.translate(features + 1, "losses.0.a2v_transformer.")
        close(from_video, v2a)
        close(from_audio, a2v)
    else:
        assert torch.equal(network.translate(features, features)[0], features)
    convert(tmp_path / "checkpoint.pth.tar", tmp_path / "network.pt")
    convert(tmp_path / "network.pt", tmp_path / "back.pth.tar")
    back = torch.load(tmp_path / "back.pth.tar", weights_only=True)
    assert same(back["model"], content["model"])
    assert same(back["train_criterion"], content["train_criterion"])


def test_training_on_one_gpu_and_old_files(tmp_path: Path) -> None:
    """Names without `module.`, and the format of PyTorch before 1.6: read, and the names come back as they were."""
    content = pretrained("avsa", 7, width=SMALL)
    bare = {**content, "model": {name.removeprefix("module."): t for name, t in content["model"].items()}}
    torch.save(bare, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pth.tar", tmp_path / "network.pt")
    convert(tmp_path / "network.pt", tmp_path / "back.pth.tar")
    assert same(torch.load(tmp_path / "back.pth.tar", weights_only=True)["model"], bare["model"])
    prefixed = avsa.load(write(tmp_path / "new.pth.tar", content))
    assert same(avsa.load(tmp_path / "old.pth.tar").state_dict(), prefixed.state_dict())


def evaluated(task: str, seed: int = 11) -> Any:
    """An evaluation file's content: the encoders a task uses, and its head."""
    dim, kind = 8 * SMALL, task.split("+")[0]
    video = {"binary": "video_feat.", "action": "feature_extractor."}.get(kind, "video_model.")
    translators = translator_shapes("v2a_transformer.", dim) | translator_shapes("a2v_transformer.", dim)
    shapes = video_shapes(video, SMALL)
    if kind in ("binary", "audio", "context"):
        shapes |= audio_shapes("audio_feat." if kind == "binary" else "audio_model.", SMALL)
    if kind == "context":
        shapes |= translators
    if kind in ("binary", "action"):
        pair = (4 if task == "binary+concat" else 2) * dim
        shapes |= classifier_shapes(pair, dim, 2) if kind == "binary" else classifier_shapes(dim, 101)
    else:
        shapes |= fpn_shapes("fpn.", {"video": 0, "audio": dim, "context": 3 * dim}[kind], SMALL)
    content = {
        "epoch": 10,
        "state_dict": filled(shapes, seed),
        "optimizer": {},
        "scheduler": {"last_epoch": 10},
    }
    if task.startswith("binary+"):
        content["criterion"] = filled(translators | head_shapes("", FOUR, dim), seed + 1)
    return content


@pytest.mark.parametrize(
    "task", ["binary", "binary+translators", "binary+concat", "action", "video", "audio", "context"]
)
def test_evaluation_checkpoints_go_both_ways(tmp_path: Path, task: str) -> None:
    content = evaluated(task)
    convert(write(tmp_path / "model_best.pth.tar", content), tmp_path / "network.pt")
    convert(tmp_path / "network.pt", tmp_path / "back.pth.tar")
    back = torch.load(tmp_path / "back.pth.tar", weights_only=True)
    held = content.keys() - {"optimizer", "scheduler"}
    assert back.keys() == held
    for entry in held - {"epoch"}:
        assert back[entry].keys() == content[entry].keys()
        assert all(torch.equal(back[entry][name], tensor) for name, tensor in content[entry].items())

    reference, dim = Reference(content["state_dict"]), 8 * SMALL
    network, head = avsa.load(tmp_path / "network.pt"), load_head(tmp_path / "network.pt")
    assert same(head.state_dict(), load_head(tmp_path / "model_best.pth.tar").state_dict())
    generator = torch.Generator().manual_seed(0)
    video, audio = torch.randn(2, 3, 8, 32, 32, generator=generator), torch.randn(2, 4, 40, 32, generator=generator)
    prefix = {"binary": "video_feat.", "action": "feature_extractor."}.get(task.split("+")[0], "video_model.")
    with torch.no_grad():
        video_BD = network.video(video)
        close(video_BD, reference.video(video, prefix))
        if task in ("action", "video"):
            with pytest.raises(UserError, match="holds no trained audio_model"):
                network.audio(audio)
        else:
            audio_BD = network.audio(audio)
        if task == "action":
            expected = reference.linear(video_BD.double(), "classifier")
            close(head(video_BD), expected)
        elif task.startswith("binary"):
            sides = [video_BD, audio_BD]
            if task == "binary+concat":
                translator = Reference(content["criterion"])
                predicted_audio = translator.translate(video_BD[None], "v2a_transformer.")[0].float()
                predicted_video = translator.translate(audio_BD[None], "a2v_transformer.")[0].float()
                sides = [torch.cat((predicted_audio, video_BD), 1), torch.cat((audio_BD, predicted_video), 1)]
            pair = torch.cat(sides, dim=1).double()
            expected = reference.linear(reference.linear(pair, "classifier.0").relu(), "classifier.2")
            close(head(*sides), expected)
        else:
            conditioning = None if task == "video" else audio_BD
            if task == "context":
                from_video, from_audio = network.translate(video_BD[None], audio_BD[None])
                conditioning = torch.cat((from_video[0], audio_BD, from_audio[0]), dim=1)
            logits_BCHW = head(network.video_maps(video), conditioning)
            doubled = None if conditioning is None else conditioning.double()
            expected = reference.fpn(reference.maps(video, prefix), doubled, "fpn.")
            close(logits_BCHW, expected)
            assert logits_BCHW.shape == (2, 32, 16, 16)
    if task == "context":
        v2a = reference.translate(video_BD[None], "v2a_transformer.")
        close(network.v2a_transformer(video_BD[None]).detach(), v2a)
    if task in ("binary+translators", "binary+concat", "context"):
        assert network.spec.translator == "transformer"
    elif task != "context":
        with pytest.raises(UserError, match="holds no trained v2a_transformer"):
            network.translate(torch.ones(1, 2, dim), torch.ones(1, 2, dim))


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_a_segmentation_head_may_use_less_than_its_file_holds(tmp_path: Path, parts: int) -> None:
    """Audio network and translators are in the file; the head sees none, one or two of their features."""
    content, dim = evaluated("context"), 8 * SMALL
    without = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith("fpn.")}
    content["state_dict"] = without | filled(fpn_shapes("fpn.", parts * dim, SMALL), 3)
    convert(write(tmp_path / "model_best.pth.tar", content), tmp_path / "network.pt")
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, SMALL << i, 8 >> i, 16 >> i, 16 >> i, generator=generator) for i in range(4)]
    conditioning = torch.rand(2, parts * dim, generator=generator) if parts else None
    expected = Reference(content["state_dict"]).fpn(
        [each.double() for each in maps], None if conditioning is None else conditioning.double(), "fpn."
    )
    for name in ("model_best.pth.tar", "network.pt"):
        with torch.no_grad():
            close(load_head(tmp_path / name)(maps, conditioning), expected)


def test_networks_trained_here_go_both_ways(tmp_path: Path) -> None:
    spec = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 8, audio_channels=7, head_dim=16)
    network = build_network(spec, seed=2)
    save_network(tmp_path / "network.pt", network, {"run": "avsa", "seed": 2})
    assert convert(tmp_path / "network.pt", tmp_path / "checkpoint.pth.tar") == "avsa"
    published = torch.load(tmp_path / "checkpoint.pth.tar", weights_only=True)
    assert all(name.startswith(("module.video_model.", "module.audio_model.")) for name in published["model"])
    assert all(name.startswith("losses.0.") for name in published["train_criterion"])
    convert(tmp_path / "checkpoint.pth.tar", tmp_path / "again.pt")
    again, _ = load_network(tmp_path / "again.pt")
    assert again.spec == spec
    assert same(again.state_dict(), network.state_dict())
    with pytest.raises(UserError, match="holds no head of a task"):
        load_head(tmp_path / "again.pt")
    linear = NetworkSpec(video_depth=10, video_width=1 / 16, audio_width=1 / 16, translator_final_relu=False)
    save_network(tmp_path / "network.pt", build_network(linear, seed=2), {})
    with pytest.raises(UserError, match=r"network.pt: its translators end without the ReLU"):
        convert(tmp_path / "network.pt", tmp_path / "nowhere.pth.tar")
    assert not (tmp_path / "nowhere.pth.tar").exists()


@pytest.mark.parametrize(
    ("translator", "depth", "told"), [("transformer", 1, False), ("transformer", 0, True), ("mlp", 1, True)]
)
def test_several_attention_heads_leave_no_trace_and_are_refused(
    tmp_path: Path, translator: TranslatorKind, depth: int, told: bool
) -> None:
    spec = NetworkSpec(10, 1 / 16, 1 / 16, translator=translator, translator_depth=depth, translator_heads=4)
    save_network(tmp_path / "network.pt", build_network(spec, seed=2), {})
    if told:  # nothing attends: the number has no meaning
        convert(tmp_path / "network.pt", tmp_path / "checkpoint.pth.tar")
        again, before = avsa.load(tmp_path / "checkpoint.pth.tar"), avsa.load(tmp_path / "network.pt")
        features = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again.translate(features, features)[0], before.translate(features, features)[0])
        return
    with pytest.raises(UserError, match=r"network.pt: its translators have 4 attention heads, .* one: .*no such form"):
        convert(tmp_path / "network.pt", tmp_path / "checkpoint.pth.tar")
    assert not (tmp_path / "checkpoint.pth.tar").exists()


def test_the_curriculum_starts_from_an_instance_discrimination_checkpoint(tmp_path: Path) -> None:
    """Encoders and their heads are taken over; translators and their heads start as the new run's seed has them."""
    content = pretrained("instdisc", 9, width=SMALL)
    convert(write(tmp_path / "checkpoint.pth.tar", content), tmp_path / "network.pt")
    spec = NetworkSpec(video_width=SMALL / 64, audio_width=SMALL / 64)
    network, fresh = build_network(spec, seed=4), build_network(spec, seed=4).state_dict()
    load_into(network, tmp_path / "network.pt")
    for name, tensor in network.state_dict().items():
        if name.startswith(("video_model", "audio_model")):
            assert torch.equal(tensor, content["model"][f"module.{name}"]), name
        elif name.startswith(("video_head", "audio_head")):
            published = f"losses.0.{name.replace('_head', '_projection')}"
            assert torch.equal(tensor, content["train_criterion"][published]), name
        else:
            assert torch.equal(tensor, fresh[name]), name
    with pytest.raises(UserError, match="another architecture"):
        load_into(build_network(NetworkSpec(video_depth=10), seed=0), tmp_path / "network.pt")


def _without(entry: str, name: str) -> Callable[[Any], None]:
    return lambda content: content[entry].pop(name)


def _with(entry: str, name: object, value: Any) -> Callable[[Any], None]:
    return lambda content: content[entry].update({name: value})


STEM = "module.video_model.conv1.0.weight"
FAULTS: list[tuple[str, Callable[[Any], None], str]] = [
    ("avsa", _without("model", "module.audio_model.block3.bn1.bias"), "audio_model.block3.bn1.bias is missing"),
    ("avsa", _without("model", STEM), "without video_model.conv1.0.weight"),
    ("avsa", _with("model", STEM, torch.tensor(1.0)), "without video_model.conv1.0.weight"),
    ("avsa", _with("model", "module.extra", torch.zeros(2, 3)), "model: extra 2×3 is unknown"),
    ("avsa", _with("model", "module.video_model.fc.bias", torch.zeros(2)), "video_model.fc.bias 2 is unknown"),
    ("avsa", _with("train_criterion", "losses.1.x", torch.zeros(2)), "train_criterion: losses.1.x 2 is unknown"),
    ("avsa", _without("train_criterion", "losses.0.video_pred_head.projection.0.bias"), "video_pred_head.* is missing"),
    ("instdisc", _without("train_criterion", "losses.0.audio_projection.projection.0.bias"), "audio_head.* is missing"),
    (
        "avsa",
        _with("train_criterion", "losses.0.a2v_transformer.transformer.1.dense.0.bias", torch.zeros(5)),
        "a2v_transformer.transformer.1.dense.0.bias is 5, expected 128",
    ),
    (
        "avsa",
        _with("model", "module.audio_model.conv1.1.bias", torch.zeros(SMALL, dtype=torch.float64)),
        "audio_model.conv1.1.bias holds torch.float64, expected torch.float32",
    ),
    ("avsa", _with("model", "module.epoch", 3), "entry model is no dictionary of tensors"),
    ("avsa", _with("model", 7, torch.zeros(2)), "entry model is no dictionary of tensors by name"),
    ("avsa", _with("train_criterion", 7, torch.zeros(2)), "entry train_criterion is no dictionary of tensors by name"),
    ("action", _with("state_dict", (7,), torch.zeros(2)), "entry state_dict is no dictionary of tensors by name"),
    ("avsa", lambda content: content.update(model=[1, 2]), "entry model is no dictionary of tensors"),
    ("avsa", lambda content: content.pop("model"), "without video_model.conv1.0.weight"),
    ("avsa", lambda content: content.pop("train_criterion"), "neither .* it holds epoch, model, optimizer"),
    ("binary", _without("state_dict", "classifier.2.bias"), r"head \(binary\): classifier.2.bias is missing"),
    ("binary", _with("state_dict", "classifier.3.bias", torch.zeros(2)), "classifier.3.bias 2 is unknown"),
    ("action", _with("state_dict", "classifier.bias", torch.zeros(51)), "classifier.bias is 51, expected 101"),
    (
        "audio",
        _with("state_dict", "fpn.lat_fpn_5.weight", torch.zeros(256, 31, 1, 1)),
        "is 256×31×1×1, expected 256×32",
    ),
    ("video", _with("state_dict", "fpn.predictor.weight", torch.zeros(32, 130, 1, 1)), "32×130×1×1, expected 32×128"),
    ("video", _with("state_dict", "fpn.predictor.weight", torch.zeros(32, 0, 1, 1)), "128×256×3×3, expected 4×256"),
    ("audio", _without("state_dict", "fpn.predictor.weight"), "without predictor.weight"),
    ("context", _without("state_dict", "a2v_transformer.transformer.0.dense.0.bias"), "dense.0.bias is missing"),
]


@pytest.mark.parametrize(("kind", "spoil", "message"), FAULTS)
def test_every_fault_is_one_line(tmp_path: Path, kind: str, spoil: Callable[[Any], None], message: str) -> None:
    content = pretrained(kind, 0, width=SMALL) if kind in ("avsa", "instdisc") else evaluated(kind)
    spoil(content)
    path = write(tmp_path / "checkpoint.pth.tar", content)
    with pytest.raises(UserError, match=message) as raised:
        convert(path, tmp_path / "network.pt")
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(path))
    assert not (tmp_path / "network.pt").exists()
    with pytest.raises(UserError, match=message):
        avsa.load(path)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('pwned', 'w')",)


def test_files_that_are_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = pretrained("instdisc", 0, width=SMALL)
    torch.save({**content, "optimizer": Payload()}, "code.pth.tar")
    torch.save(content, "whole.pth.tar")
    whole = Path("whole.pth.tar").read_bytes()
    Path("half.pth.tar").write_bytes(whole[: len(whole) // 2])
    Path("bit.pth.tar").write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    torch.save(content, "old.pth.tar", _use_new_zipfile_serialization=False)
    Path("old-half.pth.tar").write_bytes(Path("old.pth.tar").read_bytes()[:20000])
    Path("empty.pth.tar").write_bytes(b"")
    Path("text.pth.tar").write_text("a text")
    torch.save([1, 2], "list.pth.tar")
    for name in ("code", "half", "bit", "old-half", "empty", "text", "list"):
        with pytest.raises(UserError, match=f"^{name}.pth.tar: cannot be read as a checkpoint: ..") as raised:
            convert(Path(f"{name}.pth.tar"), Path("network.pt"))
        assert "\n" not in str(raised.value)
    assert not Path("pwned").exists()
    with pytest.raises(UserError, match=r"nope.pth.tar: no such checkpoint"):
        avsa.load("nope.pth.tar")


def test_our_commands_say_what_to_do_with_a_published_file(tmp_path: Path) -> None:
    path = write(tmp_path / "network.pt", pretrained("avsa", 0, width=SMALL))
    with pytest.raises(UserError, match="run avsa convert on a published one first"):
        load_network(path)


def test_a_head_of_another_network_is_refused(tmp_path: Path) -> None:
    """The head of a wider network beside a narrow one."""
    content = evaluated("binary")
    wide = BinaryHead(24 * SMALL, 24 * SMALL, 8 * SMALL).state_dict()
    content["state_dict"] |= dict(wide)
    with pytest.raises(UserError, match=r"classifier.0.weight is 32×192, expected 32×64"):
        avsa.load(write(tmp_path / "checkpoint.pth.tar", content))
