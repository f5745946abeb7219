"""One recording -> its label maps: frames -> views that cover the sphere -> a segmentation network -> the panorama.

Shapes: T frames, V views, N = T·V, C classes, H×W pixels of a map with W = 2H, h×w pixels of a view.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from avsa.acquire.segmenter import IGNORE, Segmenter, load_segmenter
from avsa.clips.ledger import RefusedError
from avsa.clips.picture import Reel
from avsa.clips.probe import open_stream
from avsa.config import Segment
from avsa.geometry.cover import Cover

Maps = npt.NDArray[np.uint8]


class Labeller:
    """A network and the views it looks through.

    Args:
        height: H of the maps.
        patience_s: a frame that takes longer to decode ends the process; 0 waits for ever.

    Raises:
        UserError: as `load_segmenter`, `Cover` and `Segmenter.confidences` do.
    """

    def __init__(self, config: Segment, height: int, device: torch.device | str, patience_s: int = 0) -> None:
        self.config, self.height, self.patience_s = config, height, patience_s
        self.device = torch.device(device)
        self.segmenter: Segmenter = load_segmenter(config.model)
        self.segmenter.network.to(self.device)
        fov = math.radians(config.fov_deg)
        self.cover = Cover(fov, config.size, config.overlap, height, self.device)
        # What the views resolve in their middle; more would alias.
        self._useful_height = math.ceil(math.pi * config.size / 2 / math.tan(fov / 2))
        with torch.inference_mode():
            self.segmenter.confidences(
                torch.zeros(1, 3, config.size, config.size, dtype=torch.uint8, device=self.device)
            )

    def label(self, video: Path) -> Maps:
        """Label maps T×H×W of a video, `label_fps` a second from its time zero on; what is damaged is ignored.

        Raises:
            RefusedError: it cannot be decoded, or is longer than a stack of maps may be.
        """
        media = open_stream(video, "video")
        try:
            self._check_length((media.end_s or 0) * self.config.label_fps)
            frames = self._frames(Reel(media, self.config.label_fps))
            maps: dict[int, Maps] = {}
            while group := list(islice(frames, max(1, self.config.batch // len(self.cover)))):
                numbers, pictures = zip(*group, strict=True)
                video_THWC = torch.from_numpy(np.stack(pictures)).to(self.device)
                maps.update(zip(numbers, self.maps(video_THWC.permute(0, 3, 1, 2)).cpu().numpy(), strict=True))
                self._check_length(numbers[-1])
        finally:
            media.close()
        if not maps:
            raise RefusedError("decode", f"{video.name} has no frame that can be decoded")
        maps_THW = np.full((max(maps) + 1, self.height, 2 * self.height), IGNORE, np.uint8)
        for number, map_HW in maps.items():
            maps_THW[number] = map_HW
        return maps_THW

    @torch.inference_mode()
    def maps(self, video_TCHW: Tensor) -> Tensor:
        """Label maps T×H×W, uint8, of panoramic RGB frames, uint8, on the labeller's device.

        The confidences of all views that see a pixel are averaged, those near a view's border counting less (`Cover`).
        The pixel takes the most confident class, or `IGNORE` if its mean confidence is below `config.confidence`.
        """
        views_NChw = self.cover.look(video_TCHW).flatten(0, 1)
        panorama_TCHW: Tensor | None = None
        for start in range(0, len(views_NChw), self.config.batch):
            values_NChw = self.segmenter.confidences(views_NChw[start : start + self.config.batch])
            if panorama_TCHW is None:
                shape = (len(video_TCHW), values_NChw.shape[1], self.height, 2 * self.height)
                panorama_TCHW = values_NChw.new_zeros(shape)
            for number, values_Chw in enumerate(values_NChw, start):
                frame, view = divmod(number, len(self.cover))
                self.cover.put_back(panorama_TCHW[frame], view, values_Chw)
        assert panorama_TCHW is not None
        confidence_THW, class_THW = panorama_TCHW.max(1)
        return class_THW.to(torch.uint8).masked_fill_(confidence_THW < self.config.confidence, IGNORE)

    def _frames(self, reel: Reel) -> Iterator[tuple[int, Any]]:
        """Numbers and H×W×3 pictures of intact frames, no larger than the views make use of."""
        frames = iter(reel)
        while True:
            if self.patience_s:
                signal.alarm(self.patience_s)
            number, frame, intact = next(frames, (-1, None, False))
            if self.patience_s:
                signal.alarm(0)
            if frame is None:
                return
            if intact:
                width, height = min(frame.width, 2 * self._useful_height), min(frame.height, self._useful_height)
                yield number, frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")

    def _check_length(self, maps: float) -> None:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // (2 * self.height**2)  # Pillow reads no larger picture
        if maps > most:
            reason = f"longer than the {most} maps of height {self.height} that one picture holds: cut the recording"
            raise RefusedError("length", reason, maps, most)
