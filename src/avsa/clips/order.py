"""What the channel order ``auto`` stands for: ACN/SN3D, unless a source's recordings speak against it together.

One recording is evidence, many of one source are proof; and a wrong order changes every direction without a trace.
So nothing is converted on a guess: where the evidence is strong the user decides. A source is what lies in one folder
of the raw folder (of a split's folder).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from avsa.clips.ledger import RefusedError
from avsa.clips.probe import open_stream
from avsa.clips.recordings import Recording
from avsa.clips.sound import Samples, decode_sound
from avsa.errors import UserError

_SAMPLE, _BUDGET, _FEWEST = 32, 128, 3  # recordings listened to: of a source, of all, and needed to stop
_LISTEN_S = 30.0
_CERTAIN = 0.999
_ALIKE = 0.1  # recordings of a source share its microphone and places: even very many say no more than 1/this
_EMPTY, _ONE_MORE = 1e-4, 0.05  # energy against the loudest channel's; share of a channel that is no copy of others


@dataclass(frozen=True)
class Verdict:
    """What a source's recordings say of their channel order.

    Attributes:
        probabilities: of each order that any of them may be in, the most probable first.
        heard: recordings it comes from; 0 where none could be judged.
    """

    source: str
    probabilities: dict[str, float]
    heard: int

    @property
    def best(self) -> str:
        """The most probable order."""
        return next(iter(self.probabilities))

    @property
    def against(self) -> bool:
        """Whether it is certain not to be ACN/SN3D, and known what else."""
        certain = 1 - self.probabilities.get("acn-sn3d", 0.0) > _CERTAIN and self.heard >= _FEWEST
        return certain and self.best not in ("acn-sn3d", "surround")

    def __str__(self) -> str:
        others = [f"or {order}, {p:.4f}" for order, p in self.probabilities.items() if order != self.best and p > 0.01]
        where = f"the sound in {self.source}" if self.source else "the sound"
        sure = ", ".join([f"{self.heard} recordings, probability {self.probabilities[self.best]:.4f}", *others])
        return f"{where} looks like {self.best}, not acn-sn3d ({sure})"


def check_order(recordings: list[Recording], sample_rate: int) -> tuple[str, float, int]:
    """The most probable order, its probability and the number of recordings it comes from (0: none could be judged).

    Of several sources, those of the one that is least like ACN/SN3D.

    Raises:
        UserError: at least three recordings of a source say with certainty that it is not ACN/SN3D.
    """
    verdicts = order_verdicts(recordings, sample_rate)
    against = [verdict for verdict in verdicts if verdict.against]
    if against:
        found = "; ".join(str(verdict) for verdict in against)
        apart = "" if len(verdicts) == 1 else ", ingesting folders of other orders apart"
        raise UserError(
            f"{found}: set clips.channel_order to {against[0].best}{apart}, or to acn-sn3d if you know that it is"
        )
    doubtful = min(verdicts, key=lambda verdict: verdict.probabilities.get("acn-sn3d", 0.0))
    return doubtful.best, doubtful.probabilities[doubtful.best], doubtful.heard


def order_verdicts(recordings: list[Recording], sample_rate: int) -> list[Verdict]:
    """What the recordings of each source say, judged by a sample of each; without recordings one empty verdict."""
    sources: dict[str, list[Recording]] = {}
    for recording in recordings:
        sources.setdefault(_source(recording), []).append(recording)
    size = min(_SAMPLE, max(_FEWEST, _BUDGET // max(1, len(sources))))
    samples = {name: found[:: max(1, len(found) // size)][:size] for name, found in (sources or {"": []}).items()}
    return [_verdict(name, sample, sample_rate) for name, sample in samples.items()]


def _source(recording: Recording) -> str:
    parts = PurePosixPath(recording.source).parts
    parts = parts[1:] if parts[0] == recording.split else parts
    return parts[0] if len(parts) > 1 else ""


def _verdict(source: str, recordings: list[Recording], sample_rate: int) -> Verdict:
    """Mean log likelihoods of the recordings count as often as there are independent ones among them."""
    from avsa.ambisonics.energy import ORDER_PRIOR  # PyTorch

    heard = [judged for recording in recordings if (judged := _listen(recording, sample_rate)) is not None]
    prior = {order: value for one, _ in heard for order, value in one.items()} or ORDER_PRIOR
    independent = len(heard) / (1 + _ALIKE * (len(heard) - 1)) if heard else 0.0
    log_odds = {order: math.log(value) for order, value in prior.items()}
    for order in log_odds:
        # An order that a recording cannot be in, by its codec or its channels, is as unlikely there as its worst one.
        likelihoods = [likelihood.get(order, min(likelihood.values())) for _, likelihood in heard]
        log_odds[order] += independent * sum(likelihoods) / max(1, len(heard))
    best = max(log_odds.values())
    total = sum(math.exp(value - best) for value in log_odds.values())
    ranked = sorted(log_odds, key=lambda order: -log_odds[order])
    return Verdict(source, {order: math.exp(log_odds[order] - best) / total for order in ranked}, len(heard))


def _listen(recording: Recording, sample_rate: int) -> tuple[dict[str, float], dict[str, float]] | None:
    """Prior and log likelihood of each order; None for a recording that cannot be judged: the checks deal with it."""
    import torch

    from avsa.ambisonics.energy import channel_order_evidence, order_prior

    path = recording.audio or recording.video
    try:
        media = open_stream(path, "audio") if path else None
        if media is None:
            return None
        try:
            codec = media.stream.codec_context
            channels, aac = codec.channels, codec.name == "aac"
            if channels not in (4, 6):
                return None
            sound_CS, _ = decode_sound(media, sample_rate, _LISTEN_S)
        finally:
            media.close()
    except (RefusedError, OSError, ValueError):
        return None
    if not _is_field(sound_CS):
        return None
    evidence, prior = channel_order_evidence(torch.from_numpy(sound_CS), aac), order_prior(channels, aac)
    return prior, {order: math.log(max(evidence[order], 1e-12) / prior[order]) for order in prior}


def _is_field(sound_CS: Samples) -> bool:
    """Whether at least three signals are heard, one of them in the first channel.

    Mono and stereo copied to four channels have the levels of one order or another, and the checks refuse them later.
    """
    covariance_CC = sound_CS.astype(np.float64) @ sound_CS.T
    energy_C = np.diag(covariance_CC)
    heard = energy_C > _EMPTY * energy_C.max(initial=0)
    if heard.sum() < 3 or not heard[0]:
        return False
    level_C = np.sqrt(energy_C[heard])
    return bool(np.linalg.eigvalsh(covariance_CC[np.ix_(heard, heard)] / np.outer(level_C, level_C))[-3] >= _ONE_MORE)
