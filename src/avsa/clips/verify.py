"""Whether a clip store's bytes are those that were written: every shard is read once, from end to end."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from joblib import Parallel, delayed
from tqdm import tqdm

from avsa.clips.clip import Clip
from avsa.clips.shard import END, header, padding
from avsa.clips.store import ClipStore
from avsa.errors import UserError

_SHOWN = 20  # findings


@dataclass
class Verified:
    """What was compared, and what differs."""

    clips: int = 0
    shards: int = 0
    size: int = 0  # bytes
    unsigned: int = 0  # clips whose manifest lines have no checksum: their payloads cannot be compared
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = (
            f"{self.clips} clips in {self.shards} shards, {self.size / 1e9:.3g} GB: all bytes are as they were written"
        )
        without = f"; {self.unsigned} clips have no checksum, since an older version wrote them"
        return text + without * bool(self.unsigned)


def verify(root: Path, jobs: int = -1) -> Verified:
    """Compare the shards with the manifest: names, places and checksums of all members, and nothing between them.

    Args:
        jobs: processes, each with one shard at a time; -1 is one per core.

    Raises:
        UserError: no store at `root`, or something differs. The message has the first finding, standard error 20.
    """
    store = ClipStore(root)
    total = Verified(findings=_listed_wrongly(root, store))
    groups = groupby(store, lambda clip: clip.shard)
    tasks = (delayed(_compare)(root / shard, list(clips)) for shard, clips in groups)
    with tqdm(total=len(store), desc="verify", unit="clip", smoothing=0) as bar:
        for result in Parallel(n_jobs=jobs, return_as="generator")(tasks):
            for count in ("clips", "shards", "size", "unsigned", "findings"):
                setattr(total, count, getattr(total, count) + getattr(result, count))
            bar.set_postfix(findings=len(total.findings), refresh=False)
            bar.update(result.clips)
        for finding in total.findings[:_SHOWN]:
            bar.write(f"  {finding}", file=sys.stderr)
    if total.findings:
        raise UserError(
            f"{root} is damaged, {len(total.findings)} findings, the first: {total.findings[0]}; fetch it again "
            "(dvc pull), or run ingest again"
        )
    return total


def _listed_wrongly(root: Path, clips: Iterable[Clip]) -> list[str]:
    count, shards = Counter[str](), set()
    for clip in clips:
        count[clip.id] += 1
        shards.add(clip.shard)
    findings = [f"clip {name} is listed {times} times" for name, times in count.items() if times > 1]
    strange = {path.name for path in root.glob("shard-*.tar")} - shards
    return findings + [f"{name} is not in the manifest" for name in sorted(strange)]


def _compare(shard: Path, clips: list[Clip]) -> Verified:
    result = Verified(len(clips), 1, unsigned=sum(clip.sha256 is None for clip in clips))
    try:
        with shard.open("rb") as file:
            for clip in clips:
                result.findings += [f"{shard.name}: clip {clip.id}: {why}" for why in _differences(file, clip)]
            if file.read(len(END) + 1) != END:
                result.findings.append(f"{shard.name}: the archive does not end where its last clip does")
            result.size = shard.stat().st_size
    except OSError as error:
        result.findings.append(f"{shard.name}: {error.strerror}")
    return result


def _differences(file: BinaryIO, clip: Clip) -> list[str]:
    """What is wrong with the clip's members; leaves the file at their end, where the next clip has to begin."""
    digest, found = hashlib.sha256(), []
    for name, (offset, length) in clip.members.items():
        expected = header(f"{clip.id}.{name}", length)
        if file.tell() + len(expected) != offset:
            found.append(f"{name} does not follow what is before it")
        file.seek(offset - len(expected))
        if file.read(len(expected)) != expected:
            found.append(f"{name} has a damaged header")
        digest.update(file.read(length))
        if file.read(len(padding(length))) != padding(length):
            found.append(f"{name} is cut short or has something behind it")
    if clip.sha256 is not None and digest.hexdigest() != clip.sha256:
        found.append("the bytes differ from the checksum")
    return found
