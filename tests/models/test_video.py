"""The folded convolutions against plain three-dimensional ones, layer by layer from the published description."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avsa.models.video import VideoDepth, VideoR2Plus1D

State = dict[str, Tensor]


def _bn(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    mean, var = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training)


def _block(state: State, name: str, x: Tensor, stride: int, training: bool) -> Tensor:
    w = {part: state[f"{name}.{part}.weight"] for part in ("spt_conv1", "tmp_conv1", "spt_conv2", "tmp_conv2")}
    y = F.conv3d(x, w["spt_conv1"], stride=(1, stride, stride), padding=(0, 1, 1))
    y = F.relu(_bn(state, f"{name}.spt_bn1", y, training))
    y = F.conv3d(y, w["tmp_conv1"], stride=(stride, 1, 1), padding=(1, 0, 0))
    y = F.relu(_bn(state, f"{name}.tmp_bn1", y, training))
    y = F.relu(_bn(state, f"{name}.spt_bn2", F.conv3d(y, w["spt_conv2"], padding=(0, 1, 1)), training))
    y = F.conv3d(y, w["tmp_conv2"], padding=(1, 0, 0))
    if f"{name}.res_conv.weight" in state:
        x = F.conv3d(x, state[f"{name}.res_conv.weight"], stride=stride)
    return F.relu(_bn(state, f"{name}.out_bn", y + x, training))


def _reference(state: State, depth: VideoDepth, video_BCTHW: Tensor, training: bool) -> list[Tensor]:
    x = F.conv3d(video_BCTHW, state["conv1.0.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
    x = F.relu(_bn(state, "conv1.1", x, training))
    stages = []
    for stage in (2, 3, 4, 5):
        blocks = [f"conv{stage}x"] if depth == 10 else [f"conv{stage}x.0", f"conv{stage}x.1"]
        for index, name in enumerate(blocks):
            x = _block(state, name, x, 2 if stage > 2 and index == 0 else 1, training)
        stages.append(x)
    return stages


def _network(depth: VideoDepth, width: float = 0.125) -> VideoR2Plus1D:
    torch.manual_seed(0)
    net = VideoR2Plus1D(depth, width).double()
    for name, tensor in net.state_dict().items():  # nothing may hide behind a neutral batch norm
        if "running_var" in name or ("bn" in name and "weight" in name):
            tensor.uniform_(0.5, 2)
        elif "running_mean" in name or ("bn" in name and "bias" in name):
            tensor.normal_()
    return net


@pytest.mark.parametrize("depth", [10, 18])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("frames", "height", "width"), [(8, 32, 32), (4, 48, 48), (2, 25, 31), (5, 32, 17), (1, 16, 16)]
)
def test_forward_and_gradients_equal_plain_convolutions(
    depth: VideoDepth, training: bool, frames: int, height: int, width: int
) -> None:
    net = _network(depth).train(training)
    video = torch.randn(3, 3, frames, height, width, dtype=torch.float64, requires_grad=True)
    state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    parameters = {name: state[name].requires_grad_() for name, _ in net.named_parameters()}

    ours = net.stages(video)
    wanted = _reference(state, depth, video, training)
    for stage, reference in zip(ours, wanted, strict=True):
        torch.testing.assert_close(stage, reference, rtol=1e-8, atol=1e-8)

    features = wanted[-1].flatten(2).max(dim=2).values
    weight = torch.randn_like(features)
    reference_grads = torch.autograd.grad((features * weight).sum(), [video, *parameters.values()])
    net.load_state_dict(state)
    grads = torch.autograd.grad((net(video) * weight).sum(), [video, *net.parameters()])
    for grad, reference in zip(grads, reference_grads, strict=True):
        scale = float(reference.abs().max()) + 1e-12
        torch.testing.assert_close(grad / scale, reference / scale, rtol=1e-7, atol=1e-7)


def test_stage_maps_have_the_published_sizes() -> None:
    net = VideoR2Plus1D(18, 1 / 16).eval()
    with torch.no_grad():
        maps = net.stages(torch.zeros(1, 3, 8, 112, 112))
    assert [tuple(x.shape) for x in maps] == [
        (1, 4, 8, 56, 56),
        (1, 8, 4, 28, 28),
        (1, 16, 2, 14, 14),
        (1, 32, 1, 7, 7),
    ]


def test_every_map_and_gradient_keeps_the_channels_last_layout() -> None:
    net = VideoR2Plus1D(10, 0.125)
    maps = net.stages(torch.randn(2, 3, 4, 32, 32))
    grads = torch.autograd.grad(maps[-1].square().sum(), maps[:-1])
    for x in (*maps, *grads):
        assert x.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 8])
def test_bf16_gradients_on_the_cpu_are_sound(frames: int) -> None:
    """Every stage from T = 8 down to T = 1, where three-dimensional bf16 kernels leave weight gradients unwritten."""
    torch.manual_seed(0)
    net = VideoR2Plus1D(10, 0.25)
    video = torch.randn(8, 3, frames, 32, 32)

    def gradients(bf16: bool) -> dict[str, Tensor]:
        poison = [torch.full((1 << exponent,), torch.nan) for exponent in range(8, 23) for _ in range(3)]
        del poison  # memory that a kernel hands out unwritten now holds NaN
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = net(video)
        features.float().square().mean().backward()
        return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    exact = gradients(bf16=False)
    for _ in range(3):
        for name, grad in gradients(bf16=True).items():
            assert torch.isfinite(grad).all(), name
            if exact[name].ndim == 5:
                similarity = F.cosine_similarity(grad.flatten(), exact[name].flatten(), dim=0)
                assert similarity > 0.9, (name, similarity)


def test_unknown_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be 10 or 18, got 34"):
        VideoR2Plus1D(34)  # type: ignore[arg-type]
