import pytest
import torch
import torchvision.transforms.functional as reference
from torch import Tensor

from avsa.data.jitter import colour_jitter_

B, T, K, P = 2, 3, 4, 500


@pytest.fixture
def crop() -> Tensor:
    """Random colours; among them greys, black, white and pure colours, which have no or an ambiguous hue."""
    crop_BCTKP = torch.rand(B, 3, T, K, P, generator=torch.Generator().manual_seed(0))
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).T
    crop_BCTKP[..., :27] = corners[None, :, None, None, :]
    return crop_BCTKP


def by_torchvision(crop_BCTKP: Tensor, jitter_BK4: Tensor) -> Tensor:
    result = torch.empty_like(crop_BCTKP)
    for b in range(B):
        for k in range(K):
            brightness, contrast, saturation, hue = jitter_BK4[b, k].tolist()
            video_TCP1 = crop_BCTKP[b, :, :, k].transpose(0, 1)[..., None]
            video_TCP1 = reference.adjust_brightness(video_TCP1, brightness)
            video_TCP1 = reference.adjust_contrast(video_TCP1, contrast)
            video_TCP1 = reference.adjust_saturation(video_TCP1, saturation)
            video_TCP1 = reference.adjust_hue(video_TCP1, hue)
            result[b, :, :, k] = video_TCP1[..., 0].transpose(0, 1)
    return result


@pytest.mark.parametrize("seed", range(3))
def test_equals_torchvision(crop: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    jitter_BK4 = torch.rand(B, K, 4, generator=generator) * torch.tensor([2.0, 2, 2, 1]) - torch.tensor([0, 0, 0, 0.5])
    expected = by_torchvision(crop, jitter_BK4)
    torch.testing.assert_close(colour_jitter_(crop, jitter_BK4), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.5])
def test_each_alone_equals_torchvision(crop: Tensor, which: int, amount: float) -> None:
    jitter_BK4 = torch.tensor([1.0, 1, 1, 0]).repeat(B, K, 1)
    jitter_BK4[0, 1:, which] = amount
    expected = by_torchvision(crop, jitter_BK4)
    torch.testing.assert_close(colour_jitter_(crop, jitter_BK4), expected, atol=2e-6, rtol=0)


def test_nothing_asked_for_changes_no_bit(crop: Tensor) -> None:
    before = crop.clone()
    colour_jitter_(crop, torch.tensor([1.0, 1, 1, 0]).repeat(B, K, 1))
    assert torch.equal(crop, before)
