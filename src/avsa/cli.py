"""The command line: one verb per pipeline stage, and a few around them. Everything heavy is imported by the verb."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from avsa.errors import UserError
from avsa.resolve import resolve
from avsa.verbs import pipeline, records, search
from avsa.verbs.options import Base, Jobs, Params, Seed, Set, app
from avsa.verbs.options import resolved as _resolve


@app.command()
def config(
    params: Params = None,
    base: Base = None,
    set_: Set = None,
    output: Annotated[Path | None, typer.Option(help="Write the resolved tree as YAML, without origins.")] = None,
) -> None:
    """Print every value and where it was chosen: default, overlay, params.yaml or --set."""
    import yaml

    resolved = resolve(params, set_ or (), base)
    if output:
        output.write_text(yaml.safe_dump(resolved.config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        return
    rows = {path: (str(value), resolved.origin(path)) for path, value in resolved.flat().items()}
    width = max(len(path) for path in rows)
    for path, (value, origin) in rows.items():
        typer.echo(f"{path:<{width}}  {value:<24}  {origin}")


@app.command()
def synth(params: Params = None, base: Base = None, set_: Set = None, jobs: Jobs = -1) -> None:
    """Render the synthetic data set synth360: ordinary .mp4 and 4-channel .m4a files with ground truth."""
    from avsa.stages.data import run_synth

    run_synth(_resolve(params, base, set_), jobs)


@app.command()
def segment(
    params: Params = None,
    base: Base = None,
    set_: Set = None,
    jobs: Jobs = -1,
    source: Annotated[Path | None, typer.Option(help="Folder of recordings; data/raw/<dataset> by default.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the maps; beside the recordings by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the maps that exist, and make all.")] = False,
) -> None:
    """Make label maps for recordings without: a segmentation network looks at views that cover the sphere."""
    from avsa.stages.data import run_segment

    run_segment(_resolve(params, base, set_), source, output, overwrite, jobs)


@app.command()
def motion(params: Params = None, base: Base = None, set_: Set = None, jobs: Jobs = -1) -> None:
    """Render the synthetic action set in the layouts of UCF-101 and HMDB-51; real videos that lie there stay."""
    from avsa.stages.data import run_motion

    run_motion(_resolve(params, base, set_), jobs)


@app.command()
def download(
    params: Params = None,
    base: Base = None,
    set_: Set = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Try so many videos at most.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Try also those that were gone, private, ...")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Only say what is there and what is missing.")] = False,
) -> None:
    """Fetch the videos of data/lists/<dataset>. Interrupted, or run again, it goes on with what may still come."""
    from avsa.stages.download import run_download

    run_download(_resolve(params, base, set_), limit, again, summary)


@app.command()
def ingest(
    params: Params = None,
    base: Base = None,
    set_: Set = None,
    jobs: Jobs = -1,
    source: Annotated[Path | None, typer.Option(help="Folder of recordings; data/raw/<dataset> by default.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(envvar="AVSA_CLUSTER", metavar="tcp://HOST:PORT", help="Convert on a Dask scheduler's workers."),
    ] = None,
) -> None:
    """Check recordings and cut them into the clip store; what fails is listed in refused.jsonl with the reason."""
    from avsa.stages.data import run_ingest

    run_ingest(_resolve(params, base, set_), source, jobs, cluster)


@app.command()
def verify(
    store: Annotated[Path, typer.Argument(help="A clip store, such as data/clips/synth360.")], jobs: Jobs = -1
) -> None:
    """Read a clip store from end to end and compare every byte with the manifest; exit code 2 where one differs."""
    from avsa.stages.data import run_verify

    typer.echo(run_verify(store, jobs))


@app.command()
def stats(params: Params = None, base: Base = None, set_: Set = None, jobs: Jobs = -1) -> None:
    """Measure mean and deviation of the audio features over the training split; interrupted, it continues."""
    from avsa.stages.data import run_stats

    run_stats(_resolve(params, base, set_), jobs)


@app.command()
def init(seed: Seed = 0, params: Params = None, base: Base = None, set_: Set = None) -> None:
    """Write the untrained network: where every run starts from, and the floor of every table."""
    from avsa.stages.init import run_init

    run_init(_resolve(params, base, set_), seed)


@app.command()
def pretrain(
    run: Annotated[str, typer.Argument(help="A name under pretrain.runs, such as avc or avsa.")],
    start: Annotated[str, typer.Option("--from", help="The run whose network to start from.")] = "untrained",
    seed: Seed = 0,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Pre-train. Interrupted, it continues where it was.

    On several GPUs: torchrun --nproc-per-node N -m avsa pretrain ..."""
    from avsa.stages.pretrain import run_pretrain

    run_pretrain(_resolve(params, base, set_), run, start, seed)


@app.command()
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="A run whose network to measure, or package.module:function[:argument].")
    ],
    task: Annotated[str, typer.Argument(help="avc-bin, avsa-bin, segmentation, ucf101-N or hmdb51-N (N = 1, 2, 3).")],
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="What results call the network, by default as the run.")] = None,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Measure a network on a task: frozen under new heads, in all settings that it offers, or fine-tuned.

    Binary tasks and segmentation keep it frozen (evaluate.binary.train: all fine-tunes it); actions fine-tune it."""
    from avsa.stages.evaluate import run_evaluate

    run_evaluate(_resolve(params, base, set_), checkpoint, task, seed, name)


@app.command()
def report(params: Params = None, base: Base = None, set_: Set = None) -> None:
    """Gather all results: reports/results.json and reports/index.html with the paper's tables beside ours."""
    from avsa.stages.report import run_report

    run_report(_resolve(params, base, set_))


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(help="A published checkpoint (.pth.tar) or statistics (.npz), or a network.pt.")
    ],
    output: Annotated[Path, typer.Argument(help="Where its other form goes, such as checkpoints/NAME-0/network.pt.")],
) -> None:
    """Turn a published checkpoint into one of this project, or back; published statistics into ours."""
    from avsa.stages.convert import run_convert

    typer.echo(run_convert(file, output))


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(help="A 360° video, a folder of them, or a clip store.")],
    output: Annotated[
        Path | None,
        typer.Argument(help=".mp4 for a video, .png for a folder, .html for a store; in reports/ if left out."),
    ] = None,
    order: Annotated[str, typer.Option(help="Channel order of a video's sound: acn-sn3d, fuma, ...")] = "acn-sn3d",
    raw: Annotated[Path | None, typer.Option(help="A store's recordings; data/raw/<name> by default.")] = None,
    params: Params = None,
    base: Base = None,
    set_: Set = None,
) -> None:
    """Look at data: a video with its sound's power map, a contact sheet of a folder, the data sheet of a clip store."""
    from avsa.stages.inspect import run_inspect

    typer.echo(run_inspect(_resolve(params, base, set_).config, source, output, order, raw))


for verb in (*pipeline.VERBS, *records.VERBS, *search.VERBS):
    app.command()(verb)


def main() -> None:
    """Run a verb.

    A :class:`UserError`, or a file that cannot be read or written, is one line and exit code 2, with a traceback only
    under ``--debug``. SIGTERM ends a verb as an exception does, so that its run is recorded as killed; training, which
    saves first, handles it itself.
    """
    sys.argv[1:] = map(_unquoted, sys.argv[1:])
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (UserError, OSError) as error:
        if debug:
            raise
        typer.secho(f"avsa: {_one_line(error)}", fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None


def _unquoted(argument: str) -> str:
    """Without the quotes for a shell that then is not there: MLflow's Kubernetes backend sends such arguments."""
    try:
        words = shlex.split(argument)
    except ValueError:
        return argument
    return words[0] if argument[:1] == "'" and len(words) == 1 and shlex.quote(words[0]) == argument else argument


def _terminate(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # launchers tend to send it twice: let the cleaning up finish
    raise SystemExit(128 + number)


def _one_line(error: UserError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
