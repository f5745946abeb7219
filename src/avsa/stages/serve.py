"""The registered model as a service: a 360° clip in, its features and how well sound and picture agree out.

Loaded by MLflow (``mlflow models serve`` and ``predict``). Shapes: N clips of one recording, K viewpoints, D features.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avsa.clips.ingest import ingest
from avsa.clips.recordings import AUDIO, VIDEO
from avsa.clips.store import ClipStore
from avsa.config import Config, Phase
from avsa.data.loader import ClipLoader
from avsa.data.statistics import Statistics
from avsa.data.views import Views, without_augmentation
from avsa.errors import UserError
from avsa.losses import ContrastiveObjective
from avsa.models.checkpoint import load_network
from avsa.models.network import AVSANetwork
from avsa.tasks.pretrain import encode
from avsa.tracking.registry import CONFIG, REFERENCE, bad_request
from avsa.tracking.weights import find_file

if TYPE_CHECKING:
    import pandas

STATISTICS = "statistics.npz"
MOST_ROWS, MOST_BYTES = 16, 256 << 20  # of a request; of one clip


@dataclass(frozen=True)
class Found:
    """What the network says of a recording; lists over its clips and their viewpoints."""

    score: float  # mean probability, among the viewpoints of a clip, of the sound that belongs to a crop; 1/K is chance
    start_s: list[float]  # of the clip
    azimuth_deg: list[float]  # of the viewpoint, positive to the left
    elevation_deg: list[float]
    video: list[list[float]]  # features, D numbers
    audio: list[list[float]]


class Aligner:
    """The network with all that makes a file into its input."""

    def __init__(self, network: AVSANetwork, statistics: Statistics, config: Config, objective: Phase) -> None:
        cuda = config.engine.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        self.network = network.to(self.device).eval()
        self.config, self.views = config, without_augmentation(config.views)
        self._normal = Views(self.views, config.audio, config.clips.sample_rate, statistics).to(self.device)
        pretrain = config.pretrain
        self.objective = ContrastiveObjective(
            objective.objective,
            pretrain.candidates,
            objective.temperature or pretrain.temperature,
            gather=False,
            translated=objective.translator,
        )

    def predict(self, table: pandas.DataFrame, params: dict[str, Any] | None = None) -> pandas.DataFrame:
        """A row of :class:`Found` for every row, which holds either ``path``, a file below the folder AVSA_CLIPS (by
        default the current one), or ``base64``, the bytes of an .mp4 with its sound in it.

        Raises:
            MlflowException: with status 400, and one line: what is wrong with which row.
        """
        import pandas as pd

        if not 1 <= len(table) <= MOST_ROWS:
            raise bad_request(f"{len(table)} clips: 1 to {MOST_ROWS} are answered at once")
        found = []
        for number, row in enumerate(table.to_dict("records")):
            given = {key: value for key, value in row.items() if isinstance(value, str) and value}
            try:
                if set(given) not in ({"path"}, {"base64"}):
                    raise UserError("give a path or base64")
                found.append(vars(self._of(**given)))
            except UserError as error:
                raise bad_request(f"clip {number}: {error}") from None
        return pd.DataFrame(found)

    def _of(self, path: str = "", base64: str = "") -> Found:
        with tempfile.TemporaryDirectory() as folder:
            raw, out = Path(folder, "raw"), Path(folder, "clips")
            (raw / "test").mkdir(parents=True)
            if path:
                _link(path, raw / "test")
            else:
                (raw / "test" / "clip.mp4").write_bytes(_decoded(base64))
            try:
                ingest(raw, out, self.config.clips, jobs=1)
            except UserError as error:
                raise UserError(str(error).replace(f": see {out}/refused.jsonl", "").replace(folder, "")) from None
            return self.score(ClipStore(out))

    @torch.inference_mode()
    def score(self, store: ClipStore) -> Found:
        """Of all clips of a store; the viewpoints are the same for the same clip."""
        loader = ClipLoader(store, self.views, batch=self.config.evaluate.batch, shuffle=False, drop_last=False)
        scores, starts, directions, features = [], [], [], []
        for batch in loader.epoch(0):
            batch = batch.to(self.device)
            video_NKD, audio_NKD = encode(self.network, *self._normal(batch))
            scores.append(self._agreement(video_NKD, audio_NKD))
            directions.append(torch.stack([batch.azimuth_NK, batch.elevation_NK]).flatten(1))
            features.append(torch.stack([video_NKD, audio_NKD]).flatten(1, 2))
            starts += [store[int(clip)].start_s for clip in batch.clip_N for _ in range(video_NKD.shape[1])]
        azimuth, elevation = (torch.cat(directions, dim=1) * (180 / math.pi)).tolist()
        video, audio = torch.cat(features, dim=1).tolist()
        return Found(float(torch.cat(scores).mean()), starts, azimuth, elevation, video, audio)

    def _agreement(self, video_NKD: Tensor, audio_NKD: Tensor) -> Tensor:
        """Mean over both directions and K viewpoints of the softmax over the clip's own K."""
        ways = []
        for query_NKE, key_NKE in self.objective.embed(self.network, video_NKD, audio_NKD).values():
            likeness_NKK = query_NKE @ key_NKE.transpose(1, 2) / self.objective.temperature
            ways.append(likeness_NKK.softmax(dim=2).diagonal(dim1=1, dim2=2).mean(dim=1))
        return torch.stack(ways).mean(dim=0)


def _link(path: str, folder: Path) -> None:
    """The file, and the sound beside it, under names of their own."""
    root = Path(os.environ.get("AVSA_CLIPS") or ".").resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root):
        raise UserError(f"{path}: only files below the folder that AVSA_CLIPS names are read")
    if file.suffix.lower() not in VIDEO or not file.is_file():
        raise UserError(f"{path}: no such video")
    (folder / f"clip{file.suffix.lower()}").symlink_to(file)
    for suffix in AUDIO:
        if suffix != file.suffix.lower() and (sound := file.with_suffix(suffix)).is_file():
            shutil.copyfile(sound, folder / f"clip{suffix}")


def _decoded(text: str) -> bytes:
    if len(text) > MOST_BYTES * 4 // 3:
        raise UserError(f"more than {MOST_BYTES >> 20} MiB: give a path")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("base64: not base64") from None


def _load_pyfunc(data: str) -> Aligner:
    """What MLflow calls with the folder of :mod:`avsa.tracking.registry`."""
    from avsa.resolve import resolve

    folder = Path(data)
    reference = json.loads((folder / REFERENCE).read_text(encoding="utf-8"))
    config = resolve(folder / CONFIG).config
    projects = [Path(place) for place in (os.environ.get("AVSA_PROJECT"), ".", reference["project"]) if place]
    network, provenance = load_network(find_file(reference["path"], reference["md5"], projects))
    name = provenance.get("run", "")
    phases = config.pretrain.runs.get(name)
    if not phases:
        raise UserError(f"{name or 'this network'} was not trained here: how it compares sound and picture is unknown")
    return Aligner(network, Statistics.load(folder / STATISTICS), config, phases[-1])
