import av
import numpy as np
import pytest

from avsa.data.colour import yuv_to_rgb

BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2


@pytest.mark.parametrize("space", [0, 2, BT709, 5, BT601, BT2020])
@pytest.mark.parametrize("colour_range", [0, LIMITED, FULL])
def test_white_grey_black(space: int, colour_range: int) -> None:
    black, white = (0, 255) if colour_range == FULL else (16, 235)
    matrix = yuv_to_rgb(space, colour_range)
    for luma, level in ((black, 0.0), (white, 1.0), ((black + white) / 2, 0.5)):
        np.testing.assert_allclose(matrix @ [luma, 128, 128, 1], [level] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("space", "red", "blue"), [(BT601, 0.299, 0.114), (BT709, 0.2126, 0.0722), (BT2020, 0.2627, 0.0593)]
)
def test_inverts_the_standards_definition(space: int, red: float, blue: float) -> None:
    """Y' = Kr R + Kg G + Kb B, Cb = (B − Y') / (2 (1 − Kb)), Cr = (R − Y') / (2 (1 − Kr)), quantised to 8 bits."""
    rng = np.random.default_rng(0)
    for r, g, b in rng.uniform(size=(20, 3)):
        luma = red * r + (1 - red - blue) * g + blue * b
        cb, cr = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
        limited = yuv_to_rgb(space, LIMITED) @ [16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr, 1]
        full = yuv_to_rgb(space, FULL) @ [255 * luma, 128 + 255 * cb, 128 + 255 * cr, 1]
        np.testing.assert_allclose(limited, [r, g, b], atol=2e-6)
        np.testing.assert_allclose(full, [r, g, b], atol=2e-6)


@pytest.mark.parametrize("space", [2, BT709, 5, BT601])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
def test_agrees_with_ffmpeg(space: int, colour_range: int) -> None:
    """Every pixel of 2×2 blocks of random colours within FFmpeg's rounding of each of its steps."""
    rng = np.random.default_rng(1)
    H, W = 32, 64
    y = rng.integers(16, 236, (H, W), dtype=np.uint8)
    uv = rng.integers(64, 192, (2, H // 2, W // 2), dtype=np.uint8)
    packed = np.concatenate([y.reshape(-1), uv.reshape(-1)]).reshape(H * 3 // 2, W)
    frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.colorspace, frame.color_range = space, colour_range
    rgb = frame.to_ndarray(format="rgb24").astype(int)
    yuv1 = np.stack([y, *uv.repeat(2, axis=1).repeat(2, axis=2), np.ones_like(y)]).astype(float)
    ours = np.einsum("ij,jhw->hwi", yuv_to_rgb(space, colour_range), yuv1).clip(0, 1) * 255
    assert np.abs(ours - rgb).max() < 4
    assert np.abs(ours - rgb).mean() < 1.2
