"""AVC-Bin and AVSA-Bin in all settings: 1 and K crops; with translators too where they were trained."""

from __future__ import annotations

from collections.abc import Iterator

from tqdm import tqdm

from avsa.config import Config
from avsa.errors import UserError
from avsa.losses import OBJECTIVES
from avsa.models.encoder import Encoder, require
from avsa.models.network import AVSANetwork
from avsa.stages.fine_tune_binary import fine_tune
from avsa.stages.frozen_features import FrozenFeatures
from avsa.stages.job import Figure, Job
from avsa.tasks.binary import BinaryTask, Score, Setting
from avsa.tasks.pretrain import AUDIO_CHANNELS
from avsa.tasks.probe import probe


def evaluate_binary(job: Job, task: str) -> Iterator[Figure]:
    """Accuracy in every setting: of a new head on frozen features, or of the whole network after fine-tuning.

    Raises:
        UserError: the encoder does not hear, or not this kind of audio; an empty split.
    """
    name: BinaryTask = "avsa-bin" if task == "avsa-bin" else "avc-bin"
    config, encoder = job.config, job.encoder
    require(encoder, task, "video_dim", "video", "audio_dim", "audio")
    if isinstance(encoder, AVSANetwork) and encoder.spec.audio_channels != AUDIO_CHANNELS[config.audio.kind]:
        raise UserError(
            f"{job.checkpoint} listens to {encoder.spec.audio_channels} channels, but audio.kind is {config.audio.kind}"
        )
    chosen = settings(config, job.checkpoint, encoder)
    tuned = ((setting, fine_tune(job, name, setting)) for setting in chosen)
    for setting, found in tuned if config.evaluate.binary.train == "all" else _frozen(job, name, chosen):
        accuracies = {"accuracy": found.accuracy}
        if config.evaluate.binary.per_crop and setting.crops > 1:
            accuracies["accuracy_crop"] = found.accuracy_crop
        for metric, accuracy in accuracies.items():
            yield Figure(str(setting), metric, accuracy.value, (accuracy.low, accuracy.high), accuracy.n)


def settings(config: Config, checkpoint: str, encoder: Encoder) -> list[Setting]:
    """1 and K crops; K with translators too where the run has trained them; K without the picture where asked for."""
    binary, crops = config.evaluate.binary, config.views.crops
    tuned = binary.train == "all"
    found = [Setting(k, fine_tuned=tuned) for k in sorted({1, crops})]
    if binary.translation != "none" and _translates(config, checkpoint, encoder):
        found.append(Setting(crops, binary.translation, fine_tuned=tuned))
    if binary.audio_only:
        found.append(Setting(crops, audio_only=True, fine_tuned=tuned))
    return found


def _translates(config: Config, checkpoint: str, encoder: Encoder) -> bool:
    """Whether the encoder has translators that were trained: of a run that the configuration knows, by its phases."""
    if not isinstance(encoder, AVSANetwork):
        return hasattr(encoder, "translate")
    if checkpoint == "untrained" or encoder.spec.translator == "none" or encoder.spec.translator_depth == 0:
        return False
    phases = config.pretrain.runs.get(checkpoint)
    return phases is None or any(OBJECTIVES[phase.objective].translated for phase in phases)


def _frozen(job: Job, task: BinaryTask, chosen: list[Setting]) -> Iterator[tuple[Setting, Score]]:
    binary = job.config.evaluate.binary
    features = FrozenFeatures(job)
    train = features.of("train", binary.views_per_clip, job.seed)
    test = features.of("test", binary.test_views_per_clip, job.seed + 1)
    features.log_use()
    for setting in chosen:
        found = probe(job.encoder, task, setting, train, test, binary, job.seed, job.device)
        if len(binary.lr) > 1:
            tqdm.write(f"{job.checkpoint} {task} {setting}: learning rate {found.lr:g} of {binary.lr}")
            job.run.log({f"{task}/{setting.key}/lr": found.lr}, step=0)
        yield setting, found.score
