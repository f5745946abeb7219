"""What an encoder offers beyond having a method for it."""

from __future__ import annotations

from avsa.errors import UserError
from avsa.models.network import AVSANetwork
from avsa.stages.job import Job
from avsa.tasks.pretrain import AUDIO_CHANNELS


def translates(job: Job) -> bool:
    """Whether the encoder has translators that were trained: its checkpoint says so."""
    if not isinstance(job.encoder, AVSANetwork):
        return hasattr(job.encoder, "translate")
    if job.encoder.spec.translator == "none" or job.encoder.spec.translator_depth == 0:
        return False
    of_another = "v2a_transformer" not in job.provenance.get("untrained", ())  # converted
    return bool(job.provenance.get("translated", of_another))


def check_hearing(job: Job) -> None:
    """Raises UserError where the encoder listens to another kind of audio than the configuration makes."""
    encoder, kind = job.encoder, job.config.audio.kind
    if isinstance(encoder, AVSANetwork) and encoder.spec.audio_channels != AUDIO_CHANNELS[kind]:
        raise UserError(f"{job.checkpoint} listens to {encoder.spec.audio_channels} channels, but audio.kind is {kind}")
