"""AVC-Bin and AVSA-Bin in all settings: 1 and K crops; with translators too where they were trained."""

from __future__ import annotations

from collections.abc import Iterator

from tqdm import tqdm

from avsa.models.encoder import require
from avsa.stages.abilities import check_hearing, translates
from avsa.stages.fine_tune_binary import fine_tune
from avsa.stages.frozen_features import FrozenFeatures
from avsa.stages.job import Figure, Job
from avsa.tasks.binary import BinaryTask, Score, Setting
from avsa.tasks.probe import probe


def evaluate_binary(job: Job, task: str) -> Iterator[Figure]:
    """Accuracy in every setting: of a new head on frozen features, or of the whole network after fine-tuning.

    Raises:
        UserError: the encoder does not hear, or not this kind of audio; an empty split.
    """
    name: BinaryTask = "avsa-bin" if task == "avsa-bin" else "avc-bin"
    binary, chosen = job.config.evaluate.binary, settings(job)
    require(job.encoder, task, "video_dim", "video", "audio_dim", "audio")
    check_hearing(job)
    tuned = ((setting, fine_tune(job, name, setting)) for setting in chosen)
    for setting, found in tuned if binary.train == "all" else _frozen(job, name, chosen):
        accuracies = {"accuracy": found.accuracy}
        if binary.per_crop and setting.crops > 1:
            accuracies["accuracy_crop"] = found.accuracy_crop
        for metric, accuracy in accuracies.items():
            yield Figure(str(setting), metric, accuracy.value, (accuracy.low, accuracy.high), accuracy.n)


def settings(job: Job) -> list[Setting]:
    """1 and K crops; K with translators too where the run has trained them; K without the picture where asked for."""
    binary, crops = job.config.evaluate.binary, job.config.views.crops
    tuned = binary.train == "all"
    found = [Setting(k, fine_tuned=tuned) for k in sorted({1, crops})]
    if binary.translation != "none":
        if translates(job):
            found.append(Setting(crops, binary.translation, fine_tuned=tuned))
        else:
            tqdm.write(f"the setting with translators is left out: {job.checkpoint} has no trained translators")
    if binary.audio_only:
        found.append(Setting(crops, audio_only=True, fine_tuned=tuned))
    return found


def _frozen(job: Job, task: BinaryTask, chosen: list[Setting]) -> Iterator[tuple[Setting, Score]]:
    binary = job.config.evaluate.binary
    features = FrozenFeatures(job)
    train = features.of("train", binary.views_per_clip, job.seed, binary.train_views)
    test = features.of(job.config.evaluate.split, binary.test_views_per_clip, job.seed + 1)
    features.log_use()
    for setting in chosen:
        found = probe(job.encoder, task, setting, train, test, binary, job.seed, job.device)
        if len(binary.lr) > 1:
            tqdm.write(f"{job.checkpoint} {task} {setting}: learning rate {found.lr:g} of {binary.lr}")
            job.run.log({f"{task}/{setting.key}/lr": found.lr}, step=0)
        yield setting, found.score
