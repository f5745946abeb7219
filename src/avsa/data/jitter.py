"""Brightness, contrast, saturation and hue of crops, each crop by its own amount, all its frames alike.

Equal to torchvision's adjust_brightness, adjust_contrast, adjust_saturation and adjust_hue one after another, in that
order, with few passes over the pixels. Hue is turned as in A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978
(hexcone model).

Shapes: B rows, K crops, C = 3 (R, G, B), T frames, P pixels of a frame.
"""

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # weights of R, G, B
TINY = 1e-12


def colour_jitter_(crop_BCTKP: Tensor, jitter_BK4: Tensor) -> Tensor:
    """Change contiguous crops in [0, 1] in place.

    Args:
        jitter_BK4: factors ≥ 0 of brightness, contrast and saturation (1 leaves them), shift of the hue in turns,
            in [−½, ½] (0 leaves it).
    """
    brightness, contrast, saturation, hue = jitter_BK4[:, None, None, :, :, None].unbind(-2)
    grey_C = crop_BCTKP.new_tensor(GREY)
    if bool((brightness != 1).any()):
        crop_BCTKP.mul_(brightness).clamp_(0, 1)
    if bool((contrast != 1).any()):
        mean_B1TK1 = torch.einsum("bctk,c->btk", crop_BCTKP.mean(-1), grey_C)[:, None, ..., None]
        torch.addcmul(mean_B1TK1 * (1 - contrast), crop_BCTKP, contrast, out=crop_BCTKP).clamp_(0, 1)
    if bool((saturation != 1).any()):
        grey_B1TKP = (grey_C @ crop_BCTKP.flatten(2)).view_as(crop_BCTKP[:, :1])
        torch.lerp(grey_B1TKP, crop_BCTKP, saturation, out=crop_BCTKP).clamp_(0, 1)
    if bool((hue != 0).any()):
        _turn_hue(crop_BCTKP, hue[:, 0])
    return crop_BCTKP


def _turn_hue(crop_BCTKP: Tensor, turns_B1K1: Tensor) -> None:
    red, green, blue = crop_BCTKP.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = (high - low).add_(TINY)
    # Six times the hue times chroma: which of the three is the greatest says where on the circle.
    if_green = (blue - red).add_(chroma, alpha=2)
    if_blue = (red - green).add_(chroma, alpha=4)
    scaled = torch.where(high == red, green - blue, torch.where(high == green, if_green, if_blue))
    hue = torch.addcdiv(turns_B1K1 + 1, scaled, chroma, value=1 / 6).frac_()  # in turns, from red over green to blue
    # Each of R, G, B is `high` within a sixth of a turn of its own hue, falls over the next sixth and is `low` beyond.
    floor, ceiling = low - chroma, low.add_(chroma, alpha=2)
    torch.addcmul(floor, (hue - 1 / 2).abs_().clamp_(1 / 6, 1 / 3), chroma, value=6, out=red)
    torch.addcmul(ceiling, (hue - 1 / 3).abs_().clamp_(1 / 6, 1 / 3), chroma, value=-6, out=green)
    torch.addcmul(ceiling, (hue - 2 / 3).abs_().clamp_(1 / 6, 1 / 3), chroma, value=-6, out=blue)
