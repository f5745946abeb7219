"""What an encoder offers beyond having a method for it."""

from __future__ import annotations

from avsa.errors import UserError
from avsa.losses import OBJECTIVES
from avsa.models.network import AVSANetwork
from avsa.stages.job import Job
from avsa.tasks.pretrain import AUDIO_CHANNELS


def translates(job: Job) -> bool:
    """Whether the encoder has translators that were trained: of a run that the configuration knows, by its phases."""
    if not isinstance(job.encoder, AVSANetwork):
        return hasattr(job.encoder, "translate")
    spec = job.encoder.spec
    if job.checkpoint == "untrained" or spec.translator == "none" or spec.translator_depth == 0:
        return False
    phases = job.config.pretrain.runs.get(job.checkpoint)
    return phases is None or any(
        OBJECTIVES[phase.objective].translated if phase.translator is None else phase.translator for phase in phases
    )


def check_hearing(job: Job) -> None:
    """Raises UserError where the encoder listens to another kind of audio than the configuration makes."""
    encoder, kind = job.encoder, job.config.audio.kind
    if isinstance(encoder, AVSANetwork) and encoder.spec.audio_channels != AUDIO_CHANNELS[kind]:
        raise UserError(f"{job.checkpoint} listens to {encoder.spec.audio_channels} channels, but audio.kind is {kind}")
