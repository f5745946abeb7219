"""What the channel order ``auto`` stands for: what a download says of itself, else ACN/SN3D, unless a source's
recordings speak against it together.

One recording is evidence, many of one source are proof; and a wrong order changes every direction without a trace.
So nothing is converted on a guess: where the evidence is strong the user decides. A source is what lies in one folder
of the raw folder (of a split's folder) and is expected in one order.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import BrokenProcessPool

from avsa.clips.probe import open_stream
from avsa.clips.recordings import Recording
from avsa.clips.sound import Samples, decode_sound
from avsa.errors import UserError

_SAMPLE, _BUDGET, _FEWEST = 32, 128, 3  # recordings listened to: of a source, of all, and needed to stop
_LISTEN_S = 30.0
_CERTAIN = 0.999
_ALIKE = 0.1  # recordings of a source share its microphone and places: even very many say no more than 1/this
_USUAL = "acn-sn3d"
_PATIENCE_S = 120  # for one recording
_EMPTY, _ONE_MORE = 1e-4, 0.05  # energy against the loudest channel's; share of a channel that is no copy of others

Source = tuple[str, str]  # a folder, and the order that its recordings are expected in
_Sound = tuple[Samples, bool]  # sound_CS, and whether it was AAC
_Judged = tuple[dict[str, float], dict[str, float]]  # prior and log likelihood of each order


@dataclass(frozen=True)
class Verdict:
    """What a source's recordings say of their channel order.

    Attributes:
        probabilities: of each order that any of them may be in, the most probable first.
        heard: recordings it comes from; 0 where none could be judged.
        expected: the order that they are taken to be in.
    """

    source: str
    probabilities: dict[str, float]
    heard: int
    expected: str = _USUAL

    @property
    def best(self) -> str:
        """The most probable order."""
        return next(iter(self.probabilities))

    @property
    def confidence(self) -> float:
        """The probability of what is expected."""
        return self.probabilities.get(self.expected, 0.0)

    @property
    def against(self) -> bool:
        """Whether it is certain not to be what is expected, and known what else."""
        certain = 1 - self.confidence > _CERTAIN and self.heard >= _FEWEST
        return certain and self.best not in (self.expected, "surround")

    def __str__(self) -> str:
        others = [f"or {order}, {p:.4f}" for order, p in self.probabilities.items() if order != self.best and p > 0.01]
        where = f"the sound in {self.source}" if self.source else "the sound"
        sure = ", ".join([f"{self.heard} recordings, probability {self.probabilities[self.best]:.4f}", *others])
        return f"{where} looks like {self.best}, not {self.expected} ({sure})"


def check_order(recordings: list[Recording], sample_rate: int, jobs: int = 1) -> tuple[str, float, int]:
    """The most probable order, its probability and the number of recordings it comes from (0: none could be judged).

    Of several sources, those of the one that is least like what is expected of it.

    Raises:
        UserError: at least three recordings of a source say with certainty that it is something else.
    """
    verdicts = order_verdicts(recordings, sample_rate, jobs)
    against = [verdict for verdict in verdicts if verdict.against]
    if against:
        found, expected = "; ".join(str(verdict) for verdict in against), against[0].expected
        apart = "" if len(verdicts) == 1 else ", ingesting folders of other orders apart"
        raise UserError(
            f"{found}: set clips.channel_order to {against[0].best}{apart}, or to {expected} if you know that it is"
        )
    doubtful = min(verdicts, key=lambda verdict: verdict.confidence)
    return doubtful.best, doubtful.probabilities[doubtful.best], doubtful.heard


def order_verdicts(recordings: list[Recording], sample_rate: int, jobs: int = 1) -> list[Verdict]:
    """What the recordings of each source say, judged by a sample of each; without recordings one empty verdict.

    With several `jobs`, what crashes a decoder or hangs says nothing and stops nothing.
    """
    sources: dict[Source, list[Recording]] = {}
    for recording in recordings:
        sources.setdefault((_folder(recording), recording.channel_order or _USUAL), []).append(recording)
    size = min(_SAMPLE, max(_FEWEST, _BUDGET // max(1, len(sources))))
    samples = [
        (source, recording)
        for source, found in sources.items()
        for recording in found[:: max(1, len(found) // size)][:size]
    ]
    heard: dict[Source, list[_Judged]] = {source: [] for source in sources or {("", _USUAL): []}}
    for (source, _), sound in zip(samples, _listen([one for _, one in samples], sample_rate, jobs), strict=True):
        if sound is not None and _is_field(sound[0]):
            heard[source].append(_judge(*sound))
    return [_verdict(source, judged) for source, judged in heard.items()]


def _folder(recording: Recording) -> str:
    parts = PurePosixPath(recording.source).parts
    parts = parts[1:] if parts[0] == recording.split else parts
    return parts[0] if len(parts) > 1 else ""


def _verdict(source: Source, heard: list[_Judged]) -> Verdict:
    """Mean log likelihoods of the recordings count as often as there are independent ones among them."""
    from avsa.ambisonics.energy import ORDER_PRIOR  # PyTorch

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
    probabilities = {order: math.exp(log_odds[order] - best) / total for order in ranked}
    return Verdict(source[0], probabilities, len(heard), source[1])


def _judge(sound_CS: Samples, aac: bool) -> _Judged:
    import torch

    from avsa.ambisonics.energy import channel_order_evidence, order_prior

    evidence, prior = channel_order_evidence(torch.from_numpy(sound_CS), aac), order_prior(len(sound_CS), aac)
    return prior, {order: math.log(max(evidence[order], 1e-12) / prior[order]) for order in prior}


def _listen(recordings: list[Recording], sample_rate: int, jobs: int) -> Iterator[_Sound | None]:
    """The beginnings of the recordings; None for one that cannot be judged: the checks deal with it."""
    if effective_n_jobs(jobs) == 1:
        yield from (_begin(recording, sample_rate) for recording in recordings)
        return
    done = 0
    try:
        for sound in _in_processes(recordings, sample_rate, jobs):
            yield sound
            done += 1
    except BrokenProcessPool:
        for recording in recordings[done:]:
            try:
                yield from _in_processes([recording], sample_rate, 2)
            except BrokenProcessPool:
                yield None


def _in_processes(recordings: list[Recording], sample_rate: int, jobs: int) -> Iterator[_Sound | None]:
    tasks = (delayed(_begin)(recording, sample_rate, _PATIENCE_S) for recording in recordings)
    found: Iterator[_Sound | None] = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    return found


def _begin(recording: Recording, sample_rate: int, patience_s: int = 0) -> _Sound | None:
    """Half a minute of the sound, and whether it was AAC. What hangs for `patience_s` ends its process."""
    guarded = patience_s and threading.current_thread() is threading.main_thread()
    if guarded:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(patience_s)
    try:
        path = recording.audio or recording.video
        if path is None:
            return None
        media = open_stream(path, "audio")
        try:
            codec = media.stream.codec_context
            if codec.channels not in (4, 6):
                return None
            return decode_sound(media, sample_rate, _LISTEN_S)[0], codec.name == "aac"
        finally:
            media.close()
    except Exception:  # a damaged file may break anything
        return None
    finally:
        if guarded:
            signal.alarm(0)


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
