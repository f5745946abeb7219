"""Running the conversions on all cores so that no recording, not even one that kills its process, stops the rest."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import BrokenProcessPool

from avsa.clips.convert import Index, convert, write_atomically
from avsa.clips.ledger import RefusedError
from avsa.clips.recordings import Recording
from avsa.config import Clips
from avsa.errors import UserError

_PATIENCE_S_PER_MB = 30.0  # of a recording's files; 1080p at 1.2 Mbit/s takes 1


def convert_all(
    todo: list[tuple[str, Recording]], config: Clips, work: Path, jobs: int, patience_s: float = 300.0
) -> Iterator[str]:
    """Convert recordings in parallel; yields their keys in order, each with its ``.tar`` and ``.json`` in `work`.

    A process that crashes or hangs takes its pool with it: then what was under way is repeated one by one, and what
    brings its process down again is refused. With one job everything runs in this process, without that protection.

    Args:
        patience_s: a recording that takes this long, and some more for its size, hangs.

    Raises:
        OSError: `work` cannot be written.
        UserError: processes die while they have nothing to do, as where memory is short.
    """
    _tidy(work, {key for key, _ in todo})
    patience = patience_s if effective_n_jobs(jobs) > 1 else None
    done = 0
    while done < len(todo):
        tasks = (delayed(_convert)(recording, config, work, key, patience) for key, recording in todo[done:])
        results = Parallel(n_jobs=jobs, return_as="generator")(tasks)
        try:
            for _ in results:
                yield todo[done][0]
                done += 1
        except BrokenProcessPool:
            suspects = [(key, recording) for key, recording in todo[done:] if (work / f"{key}.busy").exists()]
            for key, recording in suspects:
                _convert_alone(recording, config, work, key, patience_s)
            if not suspects:
                raise UserError("the ingest's processes end before their work begins: try fewer jobs") from None
        finally:
            with warnings.catch_warnings():  # joblib's, about tasks that are cancelled when the caller gives up
                warnings.simplefilter("ignore", UserWarning)
                results.close()


def _tidy(work: Path, keys: set[str]) -> None:
    """Remove what killed runs left, and results of other files or settings."""
    for path in work.iterdir():
        other = path.suffix in (".tar", ".json") and path.stem not in keys and not path.name.startswith("shard-")
        if other or path.suffix in (".busy", ".part"):
            path.unlink()


def _convert(recording: Recording, config: Clips, work: Path, key: str, patience_s: float | None) -> None:
    tar, index, busy = work / f"{key}.tar", work / f"{key}.json", work / f"{key}.busy"
    if _finished(tar, index):  # by an interrupted run
        return
    guarded = patience_s is not None and threading.current_thread() is threading.main_thread()
    busy.touch()
    if patience_s is not None and guarded:
        size = sum(path.stat().st_size for path in (recording.video, recording.audio) if path and path.is_file())
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also out of a codec's endless loop
        signal.alarm(int(patience_s + _PATIENCE_S_PER_MB * size / 1e6))
    try:
        convert(recording, config, tar, index)
    finally:
        if guarded:
            signal.alarm(0)
        busy.unlink(missing_ok=True)


def _finished(tar: Path, index: Path) -> bool:
    try:
        Index.model_validate_json(index.read_bytes())
        return tar.is_file()
    except (OSError, ValueError):
        return False


def _convert_alone(recording: Recording, config: Clips, work: Path, key: str, patience_s: float) -> None:
    try:
        Parallel(n_jobs=2)([delayed(_convert)(recording, config, work, key, patience_s)])
    except BrokenProcessPool:
        (work / f"{key}.busy").unlink(missing_ok=True)
        (work / f"{key}.tar").touch()
        refused = RefusedError("crash", "decoding it crashes or hangs the process")
        index = Index(refused=[refused.entry(recording.source)])
        write_atomically(work / f"{key}.json", index.model_dump_json().encode())
