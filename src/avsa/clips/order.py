"""What the channel order ``auto`` stands for: ACN/SN3D, unless a data set's recordings speak against it together.

One recording is evidence, many of one source are proof; and a wrong order changes every direction without a trace.
So nothing is converted on a guess: where the evidence is strong the user decides.
"""

from __future__ import annotations

import math

from avsa.clips.ledger import RefusedError
from avsa.clips.probe import open_stream
from avsa.clips.recordings import Recording
from avsa.clips.sound import decode_sound
from avsa.errors import UserError

_SAMPLE, _FEWEST = 32, 3  # recordings that are listened to; recordings that are needed to stop
_LISTEN_S = 30.0
_CERTAIN = 0.999


def check_order(recordings: list[Recording], sample_rate: int) -> tuple[str, float, int]:
    """The most probable order, its probability and the number of recordings it comes from (0: none could be judged).

    Raises:
        UserError: at least three recordings say with certainty that it is not ACN/SN3D.
    """
    from avsa.ambisonics.energy import ORDER_PRIOR  # PyTorch

    log_odds = {order: math.log(prior) for order, prior in ORDER_PRIOR.items()}
    heard = 0
    for recording in recordings[:: max(1, len(recordings) // _SAMPLE)][:_SAMPLE]:
        likelihood = _likelihood(recording, sample_rate)
        heard += likelihood is not None
        for order, value in (likelihood or {}).items():
            log_odds[order] += value
    best = max(log_odds, key=lambda order: log_odds[order])
    probability = 1 / sum(math.exp(value - log_odds[best]) for value in log_odds.values())
    if best != "acn-sn3d" and probability > _CERTAIN and heard >= _FEWEST:
        raise UserError(
            f"the sound looks like {best}, not acn-sn3d ({heard} recordings, probability {probability:.4f}): "
            f"set clips.channel_order to {best}, or to acn-sn3d if you know that it is"
        )
    return best, probability, heard


def _likelihood(recording: Recording, sample_rate: int) -> dict[str, float] | None:
    """Log likelihood of each order; None for a recording that cannot be judged and that the checks will deal with."""
    import torch

    from avsa.ambisonics.energy import ORDER_PRIOR, channel_order_evidence

    path = recording.audio or recording.video
    try:
        media = open_stream(path, "audio") if path else None
        if media is None or media.stream.codec_context.channels != 4:
            return None
        sound_CS, _ = decode_sound(media, sample_rate, _LISTEN_S)
        media.close()
    except (RefusedError, OSError, ValueError):
        return None
    evidence = channel_order_evidence(torch.from_numpy(sound_CS))
    return {order: math.log(max(evidence[order], 1e-12) / prior) for order, prior in ORDER_PRIOR.items()}
