"""Write a rendered scene as ordinary media: H.264 in .mp4, four-channel AAC in .m4a."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

# The encoder's stereo and noise tools change level and phase between channels, which is where directions live.
AAC_OPTIONS = {"aac_coder": "fast", "aac_ms": "0", "aac_is": "0", "aac_tns": "0", "aac_pns": "0"}
AAC_BITS = 4  # per sample and channel
# With B-frames or macroblock trees the encoder looks at memory around the frame, and the bytes differ from run to run.
X264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "x264-params": "mbtree=0:rc-lookahead=0", "threads": "1"}
GROUP_S = 0.5  # between key frames


def write_video(path: Path, video_THWC: npt.NDArray[np.uint8], fps: float) -> None:
    """8-bit RGB frames as H.264, yuv420p; the same frames give the same bytes."""
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        options = {**X264_OPTIONS, "g": str(max(1, round(fps * GROUP_S)))}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = video_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(video_THWC):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_audio(path: Path, foa_4S: npt.NDArray[np.floating], sample_rate: int) -> None:
    """W, Y, Z, X as AAC with the layout 4.0, which carries four full-band channels in this order."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=sample_rate, layout="4.0", options=AAC_OPTIONS)
        stream.bit_rate = 4 * AAC_BITS * sample_rate
        samples = np.ascontiguousarray(foa_4S, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="4.0")
        frame.sample_rate, frame.pts = sample_rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
