"""The stage ``init``: the untrained network, where every run starts and the floor of every table."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from avsa.config import Config
from avsa.data.batch import Batch
from avsa.data.loader import ClipLoader
from avsa.data.views import Views
from avsa.engine import distributed
from avsa.models.checkpoint import save_network
from avsa.models.network import AVSANetwork, build_network
from avsa.resolve import Resolved
from avsa.stages import paths
from avsa.stages.inputs import build_views, open_store
from avsa.tasks.pretrain import network_spec
from avsa.tracking.run import RUN_FILE, stage_run, write_run_file

BATCHES = 16  # of evaluate.batch clips, that batch normalisation is measured on


def run_init(resolved: Resolved, seed: int) -> None:
    """Write the untrained network of a seed: random weights, and batch normalisation with the data's statistics.

    Without these a frozen untrained network's features would be hundreds of times smaller than a trained one's, and
    heads on them would learn more slowly for that alone. Training does not see them: it normalises by the batch.

    Raises:
        UserError: no clip store or statistics, or the network cannot be written.
    """
    config = resolved.config
    distributed.setup(config.engine)  # its threads decide the last bits
    out = paths.checkpoint("untrained", seed)
    with stage_run(resolved, "init", f"untrained-{seed}", arguments={"seed": seed}, writes=[out]) as run:
        save_untrained(paths.network("untrained", seed), config, seed)
        write_run_file(out / RUN_FILE, run)
        run.checkpoint(f"untrained-{seed}", paths.network("untrained", seed), {"run": "untrained", "seed": seed})


def save_untrained(path: Path, config: Config, seed: int) -> None:
    """Write the network itself, without a record.

    Raises:
        UserError: as :func:`run_init`.
    """
    network = build_network(network_spec(config.model, config.audio), seed)
    calibrate(network, config, seed)
    save_network(path, network, {"run": "untrained", "seed": seed, "translated": False})


def calibrate(network: AVSANetwork, config: Config, seed: int) -> None:
    """Set the encoders' running statistics to the mean over some training batches; weights stay."""
    store, batch = open_store(config, "train"), config.evaluate.batch
    loader = ClipLoader(store, config.views, seed=seed, batch=batch, drop_last=False, workers=config.engine.workers)
    training = network.training
    with torch.random.fork_rng(devices=[]):
        update_bn(islice(loader.epoch(0), BATCHES), _Encoders(network, build_views(config)))
    network.train(training)
    loader.close()


class _Encoders(nn.Module):
    """Both encoders on the crops of a batch."""

    def __init__(self, network: AVSANetwork, views: Views) -> None:
        super().__init__()
        self.video_model, self.audio_model, self.views = network.video_model, network.audio_model, views

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        video_NKCTHW, audio_NKCTM = self.views(batch)
        return self.video_model(video_NKCTHW.flatten(0, 1)), self.audio_model(audio_NKCTM.flatten(0, 1))
