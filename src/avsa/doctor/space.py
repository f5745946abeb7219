"""Space on the disks that a pipeline writes to, and in shared memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from avsa.config import Config
from avsa.doctor.check import OK, PROBLEM, WARNING, Finding

GIB = 1 << 30
LEAST, COMFORTABLE = 2 * GIB, 10 * GIB  # checkpoints of the paper's size take 0.5 GB each with the optimiser's state
SHARED = Path("/dev/shm")


def disks(folders: Sequence[Path]) -> Iterator[Finding]:
    """One line for each file system below these folders, there or yet to be made."""
    places: dict[int, list[Path]] = {}
    for folder in folders:
        places.setdefault(_there(folder).stat().st_dev, []).append(folder)
    for together in places.values():
        names, free = ", ".join(f"{folder}/" for folder in together), shutil.disk_usage(_there(together[0])).free
        locked = [str(folder) for folder in together if not os.access(_there(folder), os.W_OK)]
        text = f"{free / GIB:.1f} GiB free for {names}"
        if locked:
            yield Finding(
                PROBLEM, f"{', '.join(locked)}/ cannot be written to", "its owner, or the mount, must allow it"
            )
        elif free < COMFORTABLE:
            level = PROBLEM if free < LEAST else WARNING
            yield Finding(level, text, "dvc gc -w frees what no stage needs; or move the folder and leave a link to it")
        else:
            yield Finding(OK, text)


def _there(folder: Path) -> Path:
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.exists())


def shared_memory(config: Config) -> Iterator[Finding]:
    """Whether the decoding processes' batches fit."""
    if not SHARED.is_dir():
        return
    yield judge_shared(shutil.disk_usage(SHARED).free, config, f"mount -o remount,size=SIZE {SHARED}")


def judge_shared(free: int, config: Config, mend: str) -> Finding:
    """What ``free`` bytes of shared memory mean for the training that needs most; ``mend`` is how to get SIZE."""
    needed = batches_in_flight(config)
    text = f"{free / GIB:.1f} GiB free, engine.workers={config.engine.workers} take up to {needed / GIB:.2f} GiB"
    if free >= needed:
        return Finding(OK, text)
    size = f"{-(-2 * needed // GIB)}g"
    return Finding(PROBLEM, text, f"{mend.replace('SIZE', size)}, or fewer engine.workers")


def batches_in_flight(config: Config) -> int:
    """Bytes of the batches that workers hand over: two ahead for each of them, and the one at work.

    A batch is panoramas as 4:2:0 planes of bytes and four channels of 32-bit samples (`avsa.data.batch`).
    """
    if config.engine.workers == 0:
        return 0
    frames = config.views.frames * config.clips.height * 2 * config.clips.height * 3 // 2
    sound = round(config.views.audio_s * config.clips.sample_rate) * 4 * 4
    rows = max(phase.batch * phase.moments for phases in config.pretrain.runs.values() for phase in phases)
    return (2 * config.engine.workers + 1) * rows * (frames + sound)
