"""A video with the sound's power map over the panorama: where first-order ambisonics hears what the picture shows.

Shapes: C = 4 channels W, Y, Z, X; S samples; H×W pixels.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps

from avsa.ambisonics.energy import power_map
from avsa.ambisonics.foa import to_acn_sn3d
from avsa.errors import UserError

HEIGHT = 360  # pixels of the result
WINDOW_S = 0.3  # of sound around a frame
SHARPEN = 3.0  # a first-order beam is broad: the normalised map is raised to this power, for the eye only
COVER = 0.65  # how much of the picture the loudest direction hides
MAP_HEIGHT = 45


def power_map_video(
    video: Path, audio: Path, out_mp4: Path, order: str = "acn-sn3d", sample_rate: int = 24000, fps: float = 15.0
) -> None:
    """Write `video` with the power map of `audio` on it, and the sound as stereo (W ± Y).

    Args:
        video: an equirectangular video.
        audio: its first-order ambisonics, in a file beside it or the same file.
        order: the order of its channels (`avsa.ambisonics.foa.to_acn_sn3d`).

    Raises:
        UserError: a file cannot be decoded, or the sound has another number of channels.
    """
    import av

    from avsa.clips.ledger import RefusedError
    from avsa.clips.picture import Reel
    from avsa.clips.probe import open_stream
    from avsa.clips.sound import decode_sound

    try:
        sound = open_stream(audio, "audio")
        foa_CS, _ = decode_sound(sound, sample_rate)
        sound.close()
        foa_CS = np.asarray(to_acn_sn3d(foa_CS, order), np.float32)
        picture = open_stream(video, "video")
    except RefusedError as error:
        raise UserError(str(error)) from error
    except UserError as error:
        raise UserError(f"{audio}: {error}") from error
    rate = Fraction(fps).limit_denominator(1001)
    floor = float(np.mean(foa_CS[0] ** 2)) * 0.05
    out_mp4.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(out_mp4), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, 2 * HEIGHT, "yuv420p"
        speaker = container.add_stream("aac", rate=sample_rate, layout="stereo")
        for number, frame, _ in Reel(picture, fps):
            image_HWC = frame.to_ndarray(width=2 * HEIGHT, height=HEIGHT, format="rgb24")
            middle = round(number / fps * sample_rate)
            half = round(WINDOW_S * sample_rate / 2)
            heard_CS = foa_CS[:, max(0, middle - half) : middle + half]
            shown = av.VideoFrame.from_ndarray(overlay(image_HWC, heard_CS, floor), format="rgb24")
            shown.pts, shown.time_base = number, 1 / rate
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
        ears = np.ascontiguousarray(np.stack((foa_CS[0] + foa_CS[1], foa_CS[0] - foa_CS[1])) * np.float32(0.5))
        played = av.AudioFrame.from_ndarray(ears, format="fltp", layout="stereo")
        played.sample_rate, played.pts = sample_rate, 0
        container.mux(speaker.encode(played))
        container.mux(speaker.encode(None))
    picture.close()


def overlay(image_HWC: npt.NDArray[np.uint8], foa_CS: npt.NDArray[np.float32], floor: float) -> npt.NDArray[np.uint8]:
    """The panorama under the sound's power map.

    The map runs from its least to its greatest power: hot is where it comes from. A moment whose power is below `floor`
    (mean square of W) fades out.
    """
    if foa_CS.shape[1] == 0:
        return image_HWC
    height, width = image_HWC.shape[:2]
    power_HW = power_map(torch.from_numpy(foa_CS), MAP_HEIGHT, 2 * MAP_HEIGHT)
    low, high = power_HW.min(), power_HW.max()
    relative = ((power_HW - low) / (high - low).clamp_min(1e-12)) ** SHARPEN
    wide = torch.nn.functional.interpolate(relative[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    loudness = min(1.0, float(np.mean(foa_CS[0] ** 2)) / max(floor, 1e-12))
    cover = (COVER * loudness * wide)[..., None]
    colour = colormaps["inferno"](0.25 + 0.75 * wide)[..., :3] * 255
    mixed: npt.NDArray[np.uint8] = np.rint(image_HWC * (1 - cover) + colour * cover).astype(np.uint8)
    return mixed
