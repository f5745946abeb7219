"""Brightness, contrast, saturation and hue of crops, each crop by its own amount, all its frames alike.

Equal to torchvision's adjust_brightness, adjust_contrast, adjust_saturation and adjust_hue one after another, in that
order, with few passes over the pixels. Hue is turned as in A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978
(hexcone model).

Shapes: K crops, C = 3 (R, G, B), T frames, P pixels of a frame.
"""

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # weights of R, G, B


def colour_jitter_(crop_KCTP: Tensor, jitter_K4: Tensor) -> Tensor:
    """Change crops in [0, 1] in place.

    Args:
        jitter_K4: factors ≥ 0 of brightness, contrast and saturation (1 leaves them), shift of the hue in turns,
            in [−½, ½] (0 leaves it).
    """
    brightness_K111, contrast_K111, saturation_K111, _ = jitter_K4.T[..., None, None, None]
    grey_C = crop_KCTP.new_tensor(GREY)
    if bool((brightness_K111 != 1).any()):
        crop_KCTP.mul_(brightness_K111).clamp_(0, 1)
    if bool((contrast_K111 != 1).any()):
        grey_K1T1 = torch.einsum("kct,c->kt", crop_KCTP.mean(-1), grey_C)[:, None, :, None]
        torch.addcmul(grey_K1T1 * (1 - contrast_K111), crop_KCTP, contrast_K111, out=crop_KCTP).clamp_(0, 1)
    if bool((saturation_K111 != 1).any()):
        mix_KCC = torch.eye(3, device=grey_C.device) * saturation_K111[..., 0] + (1 - saturation_K111[..., 0]) * grey_C
        crop_KCTP.copy_((mix_KCC @ crop_KCTP.flatten(2)).view_as(crop_KCTP)).clamp_(0, 1)
    if bool((jitter_K4[:, 3] != 0).any()):
        shift_hue_(crop_KCTP, jitter_K4[:, 3])
    return crop_KCTP


def shift_hue_(crop_KCTP: Tensor, shift_K: Tensor) -> Tensor:
    """Turn the hue in place by `shift_K` turns; value and saturation stay."""
    red, green, blue = crop_KCTP.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - low
    # The hue's sixth times chroma: which of the three is the greatest says where on the circle.
    if_green = (blue - red).add_(chroma, alpha=2)
    if_blue = (red - green).add_(chroma, alpha=4)
    turned = torch.where(high == red, green - blue, torch.where(high == green, if_green, if_blue))
    sixth = turned.div_(chroma.clamp_min(1e-12)).add_(6 * shift_K[:, None, None])
    sixth.sub_(torch.floor(sixth / 6), alpha=6)
    # Each of R, G, B is `high` within a sixth of its own hue, falls linearly over the next and is `low` beyond.
    top = low.add(chroma, alpha=2)
    torch.addcmul(low.sub(chroma), (sixth - 3).abs_().clamp_(1, 2), chroma, out=red)
    torch.addcmul(top, (sixth - 2).abs_().clamp_(1, 2), chroma, value=-1, out=green)
    torch.addcmul(top, (sixth - 4).abs_().clamp_(1, 2), chroma, value=-1, out=blue)
    return crop_KCTP
