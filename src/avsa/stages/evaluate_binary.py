"""AVC-Bin and AVSA-Bin in all settings: 1 and K crops; with translators too where the run has trained them."""

from __future__ import annotations

from collections.abc import Iterator

from tqdm import tqdm

from avsa.clips.store import ClipStore
from avsa.config import Config
from avsa.data.loader import ClipLoader
from avsa.data.views import without_augmentation
from avsa.engine.precision import autocast
from avsa.errors import UserError
from avsa.losses import OBJECTIVES
from avsa.models.network import AVSANetwork
from avsa.stages import paths
from avsa.stages.inputs import build_views
from avsa.stages.job import Figure, Job
from avsa.tasks.binary import BinaryTask, Features, Setting, evaluate, extract
from avsa.tasks.pretrain import AUDIO_CHANNELS


def evaluate_binary(job: Job, task: str) -> Iterator[Figure]:
    """Accuracy of a new head on frozen features in every setting.

    Raises:
        UserError: the network listens to another kind of audio, an empty split.
    """
    config, network = job.config, job.encoder
    name: BinaryTask = "avsa-bin" if task == "avsa-bin" else "avc-bin"
    if network.spec.audio_channels != AUDIO_CHANNELS[config.audio.kind]:
        raise UserError(
            f"{job.checkpoint} listens to {network.spec.audio_channels} channels, but audio.kind is {config.audio.kind}"
        )
    train = _features(job, "train", config.evaluate.binary.views_per_clip, job.seed, name)
    test = _features(job, "test", config.evaluate.binary.test_views_per_clip, job.seed + 1, name)
    for setting in settings(config, job.checkpoint, network):
        accuracy = evaluate(network, name, setting, train, test, config.evaluate.binary, job.seed)
        yield Figure(str(setting), "accuracy", accuracy.value, (accuracy.low, accuracy.high), accuracy.n)


def settings(config: Config, checkpoint: str, network: AVSANetwork) -> list[Setting]:
    """1 and K crops; with translators too where the run has trained them."""
    phases = config.pretrain.runs.get(checkpoint, [])
    trained = any(OBJECTIVES[phase.objective].translated for phase in phases)
    crops = sorted({1, config.views.crops})
    plain = [Setting(k, "none") for k in crops]
    translator = network.spec.translator != "none" and trained
    return plain + ([Setting(config.views.crops, config.evaluate.binary.translation)] if translator else [])


def _features(job: Job, split: str, repeats: int, seed: int, task: BinaryTask) -> Features:
    config = job.config
    views = build_views(config).to(job.device)
    loader = ClipLoader(
        ClipStore(paths.clips(config), split),
        without_augmentation(config.views),
        seed=seed,
        batch=config.evaluate.batch,
        moments=1,
        repeats=repeats,
        workers=config.engine.workers,
        drop_last=False,
    )
    batches = tqdm(loader.epoch(0), total=len(loader), desc=f"features of {split}", unit="batch", disable=None)
    with autocast(job.device, config.engine.precision):
        return extract(job.encoder, batches, views, job.device, seed, turned=task == "avsa-bin")
