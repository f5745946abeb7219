"""How well label maps agree with the truth where it is known: a small network, trained on synth360's own labels.

It learns from perspective crops of some scenes; the stage `segment` then labels scenes that it has not seen. Ignored
pixels do not count. The baseline calls every pixel by the most frequent class of the training crops. The picture,
docs/pictures/label-maps.png, shows panorama, truth, and what was made.

Shapes: S scenes, T label maps of a scene, N crops, H×W pixels of a panorama, h×w of a crop.
"""

import json
import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import trange

from avsa import config
from avsa.acquire.segment import segment
from avsa.acquire.segmenter import IGNORE, MEAN, STD
from avsa.acquire.synth.dataset import render_dataset
from avsa.clips.picture import Reel
from avsa.clips.probe import open_stream
from avsa.geometry.crops import perspective
from avsa.report.contact import label_colour
from avsa.resolve import resolve
from benchmarks import record

TRAIN, TEST = 360, 8  # scenes
SIZE, FRAMES, STEPS, BATCH, LR = 48, 4, 1000, 32, 8e-3  # training: pixels of a crop, frames of a scene, steps
PICTURE = record.FOLDER.parent / "docs" / "pictures" / "label-maps.png"
Bytes = npt.NDArray[np.uint8]


def main() -> None:
    """Measure, write the figure and draw the picture."""
    torch.manual_seed(0)
    chosen = resolve(base=str(record.FOLDER.parent / "configs" / "demo.yaml")).config.synth
    synth = chosen.model_copy(update={"train": TRAIN, "val": 0, "test": TEST})
    settings = config.Segment(size=72, batch=48, label_fps=synth.label_fps)
    with TemporaryDirectory() as folder:
        raw, made, model = (Path(folder, name) for name in ("raw", "made", "model.pt"))
        render_dataset(synth, raw)
        classes = json.loads((raw / "classes.json").read_text())
        things, count = len(classes["things"]), len(classes["things"]) + len(classes["stuff"])
        crops_N3hw, labels_Nhw = crops(raw / "train", settings)
        network = train(SmallNet(count), crops_N3hw, labels_Nhw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of tracing
            torch.jit.trace(network, torch.zeros(2, 3, settings.size, settings.size)).save(str(model))
        model.with_name("classes.json").write_text(json.dumps(classes))
        segment(raw / "test", made, settings.model_copy(update={"model": str(model)}), synth.height, jobs=1)
        videos = sorted((raw / "test").glob("*.mp4"))
        frames = [next(iter(pictures(video, synth.label_fps))) for video in videos[:3]]
        truth_STHW, made_STHW = (
            np.stack([read_maps((root / video.name).with_suffix(".segm.png")) for video in videos])
            for root in (raw / "test", made)
        )
    draw(PICTURE, frames, truth_STHW[:, 0], made_STHW[:, 0], things)
    kept = made_STHW != IGNORE
    for kind, those in (("things", truth_STHW < things), ("stuff", truth_STHW >= things)):
        agree, ignored = (made_STHW == truth_STHW)[those & kept].mean(), 1 - kept[those].mean()
        print(f"{kind}, {those.mean():.1%} of the pixels: {ignored:.1%} ignored, {agree:.1%} of the others agree")
    usual = int(labels_Nhw.flatten().bincount().argmax())
    value = 100 * float((made_STHW == truth_STHW)[kept].mean())
    baseline = 100 * float((truth_STHW[kept] == usual).mean())
    record.write("segment", value, f"% of pixels agree, {1 - kept.mean():.1%} ignored", baseline, value / baseline)


class SmallNet(nn.Module):
    """An encoder from half to an eighth of the resolution and a decoder back to half, which looks at each again."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 5, stride=2, padding=2)
        self.fine, self.middle, self.coarse = block(width, width), block(width, 2 * width), block(2 * width, 4 * width)
        self.up_middle, self.up_fine = block(6 * width, 2 * width), block(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, views_N3hw: Tensor) -> Tensor:
        half = self.fine(self.stem(views_N3hw))
        quarter = self.middle(F.max_pool2d(half, 2))
        eighth = self.coarse(F.max_pool2d(quarter, 2))
        quarter = self.up_middle(torch.cat((F.interpolate(eighth, quarter.shape[-2:]), quarter), 1))
        half = self.up_fine(torch.cat((F.interpolate(quarter, half.shape[-2:]), half), 1))
        logits: Tensor = self.head(half)
        return logits


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def pictures(video: Path, fps: float) -> list[Tensor]:
    """RGB panoramas 3×H×W, uint8, at the label maps' times."""
    media = open_stream(video, "video")
    try:
        found = [frame.to_ndarray(format="rgb24") for _, frame, _ in Reel(media, fps)]
    finally:
        media.close()
    return [torch.from_numpy(picture).permute(2, 0, 1) for picture in found]


def read_maps(path: Path) -> Bytes:
    """Label maps T×H×W."""
    stack = np.asarray(Image.open(path))
    return stack.reshape(-1, stack.shape[1] // 2, stack.shape[1])


def crops(folder: Path, settings: config.Segment) -> tuple[Tensor, Tensor]:
    """Crops of labelled frames at the views' scale, normalised N×3×h×w, and their classes N×h×w.

    Of every frame one crop looks anywhere, and one near each object: objects are few pixels and many classes.
    """
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    fov = 2 * math.atan(math.tan(math.radians(settings.fov_deg) / 2) * SIZE / settings.size)
    views, targets = [], []
    for video in sorted(folder.glob("*.mp4")):
        maps_THW = torch.from_numpy(read_maps(video.with_suffix(".segm.png")))
        objects = json.loads(video.with_suffix(".json").read_text())["objects"]
        frames = list(enumerate(zip(pictures(video, settings.label_fps), maps_THW, strict=True)))
        for number, (picture_3HW, map_HW) in frames[:: len(frames) // FRAMES]:
            centres = [(item["azimuth"][number], item["elevation"][number]) for item in objects]
            azimuth_N, elevation_N = torch.tensor(centres).T + 0.3 * torch.randn(2, len(centres))
            azimuth_N = torch.cat((azimuth_N, 2 * math.pi * torch.rand(1)))
            elevation_N = torch.cat((elevation_N.clamp(-1.5, 1.5), torch.asin(2 * torch.rand(1) - 1)))
            where = (azimuth_N, elevation_N, torch.full_like(azimuth_N, fov), SIZE)
            views.append((perspective(picture_3HW[None], *where)[:, 0].float() / 255 - mean) / std)
            targets.append(perspective(map_HW[None, None], *where, mode="nearest")[:, 0, 0])
    return torch.cat(views), torch.cat(targets).long()


def train(network: SmallNet, crops_N3hw: Tensor, labels_Nhw: Tensor) -> nn.Module:
    """The network after `STEPS` steps, in evaluation mode."""
    frequency_C = labels_Nhw.flatten().bincount(minlength=network.head.out_channels) + 1
    weight_C = (frequency_C.sum() / len(frequency_C) / frequency_C) ** 0.5  # the rare count more
    optimiser = torch.optim.AdamW(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, STEPS)
    for _ in trange(STEPS, desc="train", unit="step"):
        drawn = torch.randint(len(crops_N3hw), (BATCH,))
        logits = F.interpolate(network(crops_N3hw[drawn]), crops_N3hw.shape[-2:], mode="bilinear")
        loss = F.cross_entropy(logits, labels_Nhw[drawn], weight_C)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def draw(path: Path, frames: list[Tensor], truth_SHW: Bytes, made_SHW: Bytes, things: int) -> None:
    """Rows of panorama, truth, label map; what is ignored is grey."""
    colour = np.array([label_colour(label, things) for label in range(256)], np.uint8)
    rows = [
        np.concatenate([frame.permute(1, 2, 0).numpy(), colour[truth_HW], colour[made_HW]], 1)
        for frame, truth_HW, made_HW in zip(frames, truth_SHW, made_SHW, strict=False)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)
