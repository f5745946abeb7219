"""Label maps for a folder of recordings that has none: on all cores, from where the last run stopped."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import BrokenProcessPool
from PIL import Image
from tqdm import tqdm

from avsa.acquire.labeller import Labeller
from avsa.acquire.segmenter import IGNORE
from avsa.clips.convert import write_atomically
from avsa.clips.ledger import Refusal, RefusedError
from avsa.clips.recordings import Recording, find_recordings
from avsa.clips.truth import read_truth
from avsa.config import Segment
from avsa.errors import UserError

LEDGER = "unsegmented.jsonl"  # recordings without label maps, and why
MADE_BY = "segment.json"  # what the maps in a folder were made with
_PATIENCE_S = 300  # for one frame
_PER_GPU = 4  # processes that share a GPU: decoding is what they wait for


@dataclass(frozen=True)
class Outcome:
    """What became of one recording."""

    maps: int = 0
    ignored: float = 0.0  # share of the maps' pixels
    refused: Refusal | None = None


@dataclass(frozen=True)
class SegmentSummary:
    """What a run did."""

    recordings: int
    resumed: int  # recordings that had their maps before
    maps: int  # made by this run
    ignored: float  # share of their pixels
    refused: list[Refusal]


def segment(
    raw: Path,
    out: Path,
    config: Segment,
    height: int,
    device: str = "cpu",
    overwrite: bool = False,
    jobs: int = -1,
) -> SegmentSummary:
    """Write the label maps of every recording in `raw` that has none in `out`, which may be `raw` itself.

    `out` gets, at the recordings' relative paths, ``<id>.segm.png`` (T maps stacked, T·height × 2·height, 255 is
    ignored) and ``<id>.json`` with their ``label_fps`` (the recording's own, extended); besides ``classes.json``,
    ``segment.json`` (what the maps were made with) and, for what failed, ``unsegmented.jsonl``. Each file appears
    complete, so that an interrupted run goes on where it was.

    Args:
        height: of the maps; they are twice as wide.
        device: "cpu" or "cuda"; the processes share the GPUs.
        overwrite: removes all maps of these recordings in `out` first.
        jobs: processes; -1 is one per core, or 4 per GPU. Only with several is a file that crashes its decoder refused.

    Raises:
        UserError: no recordings, no such model or a wrong one, maps of other classes or settings in `out`, no recording
            that can be labelled, a GPU that is too small.
        OSError: `out` cannot be written.
    """
    recordings = find_recordings(raw)
    labeller = Labeller(config, height, device)
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        _claim(out, [_target(out, recording) for recording in recordings], labeller, overwrite)
        return _segment(recordings, labeller, out, jobs)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """No other run writes to `out` meanwhile."""
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"another run is writing label maps to {out}: wait for it") from None
    finally:
        os.close(folder)


def _segment(recordings: list[Recording], labeller: Labeller, out: Path, jobs: int) -> SegmentSummary:
    todo = [recording for recording in recordings if not _target(out, recording).exists()]
    resumed, maps, ignored, refused = len(recordings) - len(todo), 0, 0.0, []
    with tqdm(total=len(recordings), initial=resumed, desc="segment", unit="recording", smoothing=0) as bar:
        for outcome in _outcomes(todo, labeller, out, jobs):
            maps, ignored = maps + outcome.maps, ignored + outcome.ignored * outcome.maps
            if outcome.refused:
                refused.append(outcome.refused)
            bar.set_postfix(refused=len(refused), refresh=False)
            bar.update()
    _write_ledger(out / LEDGER, refused)
    if len(refused) == len(recordings):
        raise UserError(
            f"none of {len(recordings)} recordings can be labelled, e.g. {refused[0].reason}: {out / LEDGER}"
        )
    return SegmentSummary(len(recordings), resumed, maps, ignored / max(1, maps), refused)


def _target(out: Path, recording: Recording) -> Path:
    return (out / recording.source).with_suffix(".segm.png")


def _claim(out: Path, targets: list[Path], labeller: Labeller, overwrite: bool) -> None:
    """Refuse a folder with maps of other classes or settings, or empty it; then say what the coming maps are."""
    classes = labeller.segmenter.classes
    settings = {
        **labeller.config.model_dump(mode="json", exclude={"batch"}),
        "model": labeller.segmenter.identity,
        "height": labeller.height,
    }
    present = [target for target in targets if target.exists()]
    if overwrite:
        for target in present:
            target.unlink()
    elif present:
        way_out = "--overwrite removes these maps, --output writes to another folder"
        if _read_json(out / "classes.json") != classes:
            raise UserError(f"{out} holds label maps of other classes than the model's (classes.json): {way_out}")
        if _read_json(out / MADE_BY) not in (None, settings):
            raise UserError(f"{out} holds label maps made with other settings: {way_out}")
    for partial in out.rglob("*.segm.png.*.part"):  # of a killed run
        partial.unlink()
    for name, content in (("classes.json", classes), (MADE_BY, settings)):
        write_atomically(out / name, _encoded(content))


def _write_ledger(path: Path, refused: list[Refusal]) -> None:
    if refused:
        write_atomically(path, "".join(one.model_dump_json(exclude_none=True) + "\n" for one in refused).encode())
    else:
        path.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _encoded(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _segment_one(recording: Recording, labeller: Labeller, out: Path) -> Outcome:
    """Label one recording; whatever is wrong with it ends in the outcome. The maps come last and say it is complete."""
    target = _target(out, recording)
    try:
        if recording.video is None:
            raise RefusedError("video", "sound without a video beside it")
        truth = read_truth(recording.truth)
        maps_THW = labeller.label(recording.video)
        buffer = io.BytesIO()
        Image.fromarray(maps_THW.reshape(-1, maps_THW.shape[2])).save(buffer, format="png")
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = (out / recording.source).with_suffix(".json")
        if truth.get("label_fps") != labeller.config.label_fps or not beside.exists():
            write_atomically(beside, _encoded({**truth, "label_fps": labeller.config.label_fps}), sync=False)
        write_atomically(target, buffer.getvalue(), sync=False)
        return Outcome(len(maps_THW), float(np.mean(maps_THW == IGNORE)))
    except RefusedError as refused:
        return Outcome(refused=refused.entry(recording.source))
    except torch.OutOfMemoryError:
        raise UserError("the GPU's memory is too small: take a smaller segment.batch or fewer --jobs") from None
    except OSError as error:
        if not isinstance(error, av.error.FFmpegError):  # the disk's, not the recording's
            raise
        return Outcome(refused=RefusedError("error", str(error)).entry(recording.source))
    except UserError:
        raise
    except Exception as error:  # a damaged file may break anything; the rest must go on
        return Outcome(refused=RefusedError("error", f"{type(error).__name__}: {error}").entry(recording.source))


def _outcomes(todo: list[Recording], labeller: Labeller, out: Path, jobs: int) -> Iterator[Outcome]:
    """Of all recordings, in order. What brings its process down, alone again, is refused; the rest goes on."""
    on_gpu = labeller.device.type == "cuda"
    processes = min(effective_n_jobs(jobs), _PER_GPU * torch.cuda.device_count() if on_gpu and jobs < 0 else 1 << 16)
    if processes == 1:
        yield from (_segment_one(recording, labeller, out) for recording in todo)
        return
    settings = (labeller.config, labeller.height, labeller.device.type, labeller.segmenter.identity, out)
    deadly: set[str] = set()
    done = 0
    with TemporaryDirectory() as marks:

        def pool(numbers: list[int], processes: int) -> Any:
            tasks = (delayed(_in_worker)(todo[number], settings, Path(marks, str(number))) for number in numbers)
            return Parallel(n_jobs=processes, return_as="generator", batch_size=1)(tasks)

        while done < len(todo):
            left = [number for number in range(done, len(todo)) if todo[number].source not in deadly]
            results = pool(left, processes)
            try:
                while done < len(todo):
                    if todo[done].source in deadly:
                        crash = RefusedError("crash", "decoding it crashes or hangs the process")
                        yield Outcome(refused=crash.entry(todo[done].source))
                    else:
                        yield next(results)
                    done += 1
            except BrokenProcessPool:
                suspects = [int(mark.name) for mark in Path(marks).iterdir()]
                if not suspects:
                    raise UserError("the processes end before their work begins: try fewer --jobs") from None
                for number in suspects:
                    Path(marks, str(number)).unlink()
                    try:
                        list(pool([number], 2))
                    except BrokenProcessPool:
                        deadly.add(todo[number].source)
                        Path(marks, str(number)).unlink(missing_ok=True)
            finally:
                with warnings.catch_warnings():  # joblib's, about tasks that are cancelled when the caller gives up
                    warnings.simplefilter("ignore", UserWarning)
                    results.close()


def _in_worker(recording: Recording, settings: tuple[Any, ...], mark: Path) -> Outcome:
    config, height, device, identity, out = settings
    if _target(out, recording).exists():  # finished before another one's crash
        return Outcome()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also out of a codec's endless loop
    mark.touch()
    try:
        return _segment_one(recording, _labeller(config, height, device, identity), out)
    finally:
        mark.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _labeller(config: Segment, height: int, device: str, identity: str) -> Labeller:
    if device == "cuda":
        device = f"cuda:{os.getpid() % torch.cuda.device_count()}"
    return Labeller(config, height, device, _PATIENCE_S)
