"""From luma and chroma to red, green, blue: one affine map, as the video says which.

Y' and chroma as 8-bit values; RGB in [0, 1]. Luma weights: ITU-R BT.601-7 (section 2.5), BT.709-6 (item 3.2),
BT.2020-2 (table 4). Limited range puts Y' in 16-235 and chroma in 16-240, full range uses 0-255; chroma is centred on
128 in both.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

# FFmpeg's AVColorSpace (ITU-T H.273 MatrixCoefficients) to the luma weights of red and blue; untagged video counts as
# BT.601, as FFmpeg's own conversion has it.
_RED_BLUE = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


@lru_cache(maxsize=32)
def yuv_to_rgb(colour_space: int, colour_range: int) -> npt.NDArray[np.float32]:
    """The 3×4 matrix M with (R, G, B) = M·(Y', Cb, Cr, 1), not clamped, for FFmpeg's tags of a decoded frame."""
    red, blue = _RED_BLUE.get(colour_space, _BT601)
    green = 1 - red - blue
    from_chroma = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    full = colour_range == FULL_RANGE
    luma, chroma, black = (255.0, 255.0, 0.0) if full else (219.0, 224.0, 16.0)
    matrix = from_chroma / [luma, chroma, chroma]
    offset = -matrix @ [black, 128.0, 128.0]
    return np.column_stack((matrix, offset)).astype(np.float32)
