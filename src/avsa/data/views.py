"""Views of decoded clips on the device: K crops of the picture, each with the sound turned to it.

Shapes: N rows, K crops, C channels (3 of a picture, or of the audio features), T frames, H×W crop pixels, M mel bins,
P = H·W.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avsa import config
from avsa.data.batch import Batch
from avsa.data.jitter import colour_jitter_
from avsa.data.planes import crop_rgb
from avsa.data.released import released_crop_rgb
from avsa.data.sound import audio_features, crop_rotation
from avsa.data.statistics import Statistics
from avsa.geometry.crops import crop_directions

# Mean and standard deviation of R, G, B over ImageNet: the usual normalisation of pictures.
PICTURE_MEAN = (0.485, 0.456, 0.406)
PICTURE_STD = (0.229, 0.224, 0.225)

CACHED = 1 << 19
"""Crop values that a CPU makes in one go: they and their temporaries stay in its cache."""


def without_augmentation(views: config.Views) -> config.Views:
    """The same crops without mirroring, colour jitter and gain: the views of evaluation."""
    return views.model_copy(update={"mirror": 0.0, "jitter": (0.0, 0.0, 0.0, 0.0), "gain_jitter": 0.0})


class Views(nn.Module):
    """Makes a batch into the networks' input, without gradients and in fp32 whatever autocast says.

    `rule: released` makes the views that published checkpoints were trained on, errors included: the crops of
    `avsa.data.released`, and sound turned as `avsa.ambisonics.released` has it, which a mirrored crop keeps.

    Args:
        statistics: what the audio features are normalised with; none leaves them as they are.
    """

    picture_scale_C11: Tensor
    picture_offset_C11: Tensor
    audio_scale_C1M: Tensor
    audio_offset_C1M: Tensor

    def __init__(
        self, views: config.Views, audio: config.Audio, sample_rate: int, statistics: Statistics | None = None
    ) -> None:
        super().__init__()
        self.views = views
        self.features = audio_features(views, audio, sample_rate)
        mean_CM, std_CM = torch.zeros(1, 1), torch.ones(1, 1)
        if statistics is not None:
            mean_CM, std_CM = torch.from_numpy(statistics.mean_CM), torch.from_numpy(statistics.std_CM)
        picture_mean_C, picture_std_C = torch.tensor(PICTURE_MEAN), torch.tensor(PICTURE_STD)
        self.register_buffer("picture_scale_C11", (1 / picture_std_C)[:, None, None], persistent=False)
        self.register_buffer("picture_offset_C11", (-picture_mean_C / picture_std_C)[:, None, None], persistent=False)
        self.register_buffer("audio_scale_C1M", (1 / std_CM)[:, None], persistent=False)
        self.register_buffer("audio_offset_C1M", (-mean_CM / std_CM)[:, None], persistent=False)

    def forward(self, batch: Batch, turn_N44: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(video_NKCTHW, audio_NKCTM), both normalised. `turn_N44`: see `audio`."""
        return self.video(batch), self.audio(batch, turn_N44)

    @torch.no_grad()
    def video(self, batch: Batch) -> Tensor:
        """Crops `video_NKCTHW`, normalised."""
        size = self.views.size
        (N, T), K, device = batch.y_NTHW.shape[:2], batch.azimuth_NK.shape[1], batch.y_NTHW.device
        crops = self._crops(batch)
        video_NKCTP = torch.empty((N, K, 3, T, size * size), device=device)
        together = max(1, CACHED // video_NKCTP[0].numel()) if device.type == "cpu" else N
        with torch.autocast(device.type, enabled=False):
            for start in range(0, N, together):
                n = slice(start, start + together)
                crop_NCTKP = crops(n)
                colour_jitter_(crop_NCTKP, batch.jitter_NK4[n])
                crop_NKCTP = crop_NCTKP.permute(0, 3, 1, 2, 4)
                torch.addcmul(self.picture_offset_C11, crop_NKCTP, self.picture_scale_C11, out=video_NKCTP[n])
        return video_NKCTP.view(N, K, 3, T, size, size)

    def _crops(self, batch: Batch) -> Callable[[slice], Tensor]:
        """What gives the crops of some rows as RGB in [0, 1], `crop_NCTKP`."""
        size = self.views.size
        if self.views.rule == "released":
            return lambda n: released_crop_rgb(batch, n, size)
        azimuth_NKP, elevation_NKP = crop_directions(
            batch.azimuth_NK, batch.elevation_NK, batch.fov_NK, batch.aspect_NK, size, size, batch.mirror_NK
        )
        return lambda n: crop_rgb(
            batch.y_NTHW[n], batch.uv_NT2hw[n], batch.rgb_N34[n], azimuth_NKP[n], elevation_NKP[n]
        )

    @torch.no_grad()
    def audio(self, batch: Batch, turn_N44: Tensor | None = None) -> Tensor:
        """Features of the sound turned to the crops, `audio_NKCTM`, normalised.

        Args:
            turn_N44: channel matrices that turn each row's whole sound field first, e.g. a yaw that makes it wrong.
        """
        rotation_NK44 = crop_rotation(batch.azimuth_NK, batch.elevation_NK, batch.mirror_NK, self.views.rule)
        if turn_N44 is not None:
            rotation_NK44 = rotation_NK44 @ turn_N44[:, None]
        with torch.autocast(batch.foa_NCS.device.type, enabled=False):
            audio_NKCTM: Tensor = self.features(batch.foa_NCS * batch.gain_N[:, None, None], rotation_NK44)
            return torch.addcmul(self.audio_offset_C1M, audio_NKCTM, self.audio_scale_C1M, out=audio_NKCTM)
