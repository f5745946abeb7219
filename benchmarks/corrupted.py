"""What becomes of 1,000 damaged variants of real recordings: a refusal with a reason, or the undamaged clip.

Each variant is converted as an ingest converts it (`avsa.clips.convert`), twice: with the checksum of the undamaged
file on record, as a download leaves it, and without, where the decoders must notice. Codecs of video and sound have no
checksums of their own, so the second count is not zero; a wrong clip is one that differs from the original's.
"""

import io
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from tqdm import tqdm

from avsa.clips.checksums import SUMS
from avsa.clips.convert import Index, convert
from avsa.clips.recordings import find_recordings
from avsa.clips.segments import TAIL_S
from avsa.config import Checks, Clips
from avsa.errors import UserError
from benchmarks.damage import KINDS, Files, originals, variants
from benchmarks.record import write

Array = npt.NDArray[np.float32]

COUNT, SEED, PATIENCE_S = 1000, 0, 30.0
CLIPS = Clips(clip_s=1.0, height=120, checks=Checks(min_motion=0.0))  # one second of the sitar hardly moves
MOST_GREY, MOST_SOUND = 2.0, 0.01  # mean difference of any frame; energy of the sound's difference, as a share: 20 dB


@dataclass(frozen=True)
class Outcome:
    """What became of one variant."""

    kind: str
    original: str
    refused: tuple[str, ...]  # names of checks
    clips: int
    wrong: int  # of the clips
    seconds: float  # of processor time


def damaged(number: int, kind: str, original: Files) -> Files:
    """The variant of this number."""
    return KINDS[kind](original, random.Random(1_000_003 * SEED + number))


def try_variant(number: int, kind: str, original: str, known: bool) -> Outcome:
    """Convert one variant, with the originals' checksums on record if they are `known`."""
    files, order = _originals()[original]
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        _write(raw, damaged(number, kind, files))
        if known:
            lines = [f"{sha256(content).hexdigest()}  a.{suffix}\n" for suffix, content in files.items()]
            (raw / SUMS).write_text("".join(lines))
        began = time.process_time()
        index, clips = _converted(raw, order)
        seconds = time.process_time() - began
    wrong = sum(not _alike(clip, _undamaged(original)) for clip in clips)
    return Outcome(kind, original, tuple(sorted({one.check for one in index.refused})), len(clips), wrong, seconds)


def _write(raw: Path, files: Files) -> None:
    raw.mkdir()
    for suffix, content in files.items():
        (raw / f"a.{suffix}").write_bytes(content)


def _converted(raw: Path, order: str) -> tuple[Index, list[tuple[Array, Array]]]:
    """What became of the only recording in `raw`, and its clips' luma and sound."""
    config = CLIPS.model_copy(update={"channel_order": order})
    index, clips = Index(), []
    for recording in find_recordings(raw):
        tar, listing = raw / "clips.tar", raw / "index.json"
        convert(recording, config, tar, listing)
        index = Index.model_validate_json(listing.read_bytes())
        content = tar.read_bytes()
        for piece in index.pieces:
            members = {name: content[at : at + size] for name, (at, size) in piece.clip.members.items()}
            clips.append((_luma(members["mp4"]), _sound(members["flac"])))
    return index, clips


def _luma(payload: bytes) -> Array:
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.float32)


def _sound(payload: bytes) -> Array:
    container: Any
    with av.open(io.BytesIO(payload)) as container:
        pieces = [frame.to_ndarray().reshape(-1, 4).T for frame in container.decode(audio=0)]
    return np.concatenate(pieces, axis=1).astype(np.float32) / np.float32(32768)


@lru_cache(maxsize=1)
def _originals() -> dict[str, tuple[Files, str]]:
    return originals()


@lru_cache
def _undamaged(original: str) -> tuple[Array, Array]:
    files, order = _originals()[original]
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "raw"), files)
        index, clips = _converted(Path(folder, "raw"), order)
    if len(clips) != 1:
        raise RuntimeError(f"the undamaged {original} is refused: {index.refused}")
    return clips[0]


def _alike(clip: tuple[Array, Array], original: tuple[Array, Array]) -> bool:
    (luma, sound), (luma_0, sound_0) = clip, original
    if luma.shape != luma_0.shape or sound.shape != sound_0.shape:
        return False
    picture, heard = round((1 - TAIL_S) * len(luma)), round((1 - TAIL_S) * sound.shape[1])  # a clip may lack its tail
    luma, luma_0, sound, sound_0 = luma[:picture], luma_0[:picture], sound[:, :heard], sound_0[:, :heard]
    grey = float(np.abs(luma - luma_0).mean(axis=(1, 2)).max())
    return grey <= MOST_GREY and float(np.square(sound - sound_0).sum()) <= MOST_SOUND * float(np.square(sound_0).sum())


def run(count: int = COUNT, known: bool = False, jobs: int = -1) -> list[Outcome]:
    """All outcomes, in the variants' order. A process that crashes, or takes more than `PATIENCE_S`, ends the run."""
    tasks = (delayed(_within_patience)(*variant, known) for variant in variants(count, SEED))
    results = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    return list(tqdm(results, total=count, desc="damaged", unit="variant"))


def _within_patience(number: int, kind: str, original: str, known: bool) -> Outcome:
    _undamaged(original)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)  # of processor time: ends the process, out of any codec's loop
    try:
        return try_variant(number, kind, original, known)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def table(outcomes: list[Outcome]) -> str:
    """Markdown: for each kind of damage how many variants were refused, gave the original's clip, or a wrong one."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.kind].append(outcome)
    lines = ["| damage | variants | refused | the same clip | a wrong clip | slowest, s | refused by |", "|-" * 7 + "|"]
    for kind, found in [*sorted(rows.items()), ("all", outcomes)]:
        checks = Counter(check for one in found for check in one.refused if not one.clips).most_common(5)
        by = ", ".join(f"{check} {times}" for check, times in checks)
        refused, wrong = sum(not one.clips for one in found), sum(one.wrong > 0 for one in found)
        slowest = max(one.seconds for one in found)
        same = len(found) - refused - wrong
        lines.append(f"| {kind} | {len(found)} | {refused} | {same} | {wrong} | {slowest:.1f} | {by} |")
    return "\n".join(lines)


def main() -> None:
    """Run all variants with and without recorded checksums; print both tables and write the figures."""
    try:
        _originals()
    except FileNotFoundError as missing:
        raise UserError(f"no real recordings at {missing.filename}: set AVSA_SHARED_DATA") from missing
    wrong = {}
    for known in (False, True):
        outcomes = run(known=known)
        lost = [one for one in outcomes if not one.clips and not one.refused]
        print(f"\nchecksums {'on record' if known else 'not known'}: {len(lost)} neither clip nor reason\n")
        print(table(outcomes))
        wrong[known] = sum(one.wrong > 0 for one in outcomes)
    unit = f"wrong clips of {COUNT} damaged files; baseline: without checksums on record"
    write("corrupted", wrong[True], unit, wrong[False], wrong[True] / max(1, wrong[False]))
