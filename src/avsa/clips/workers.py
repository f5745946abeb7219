"""Running the conversions on all cores so that no recording, not even one that kills its process, stops the rest."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from joblib import Parallel, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import BrokenProcessPool

from avsa.clips.attempt import PATIENCE_S, attempt, finished, give_up, patience_of, tidy
from avsa.clips.recordings import Recording
from avsa.config import Clips
from avsa.errors import UserError


def convert_all(
    todo: list[tuple[str, Recording]], config: Clips, work: Path, jobs: int, patience_s: float = PATIENCE_S
) -> Iterator[str]:
    """Convert recordings in parallel; yields their keys in order, each with its ``.tar`` and ``.json`` in `work`.

    A process that crashes or hangs takes its pool with it: then what was under way is repeated one by one, and what
    brings its process down again is refused. With one job everything runs in this process, without that protection.

    Raises:
        OSError: `work` cannot be written.
        UserError: processes die while they have nothing to do, as where memory is short.
    """
    tidy(work, {key for key, _ in todo})
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


def _convert(recording: Recording, config: Clips, work: Path, key: str, patience_s: float | None) -> None:
    busy = work / f"{key}.busy"
    if finished(work, key):
        return
    guarded = patience_s is not None and threading.current_thread() is threading.main_thread()
    busy.touch()
    if patience_s is not None and guarded:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also out of a codec's endless loop
        signal.alarm(patience_of(recording, patience_s))
    try:
        attempt(recording, config, work, key)
    finally:
        if guarded:
            signal.alarm(0)
        busy.unlink(missing_ok=True)


def _convert_alone(recording: Recording, config: Clips, work: Path, key: str, patience_s: float) -> None:
    try:
        Parallel(n_jobs=2)([delayed(_convert)(recording, config, work, key, patience_s)])
    except BrokenProcessPool:
        give_up(recording, work, key, "decoding it crashes or hangs the process")
