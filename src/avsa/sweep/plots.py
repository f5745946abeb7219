"""Plots of a search: interactive ones for the page, and the same as pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsa.sweep.plan import Plan
from avsa.sweep.studies import Studies
from avsa.sweep.summary import seen

if TYPE_CHECKING:
    from optuna import Study

MOST_SLICES = 12
SIZE, PANEL, AXIS = (11.0, 6.0), 2.5, 1.2  # inches; the width of a slice among several, and of a parallel coordinate
VALIDATION, PARETO = "validation", "pareto"
WITHIN = "own sound is the best match within the clip (%)"


def plots(studies: Studies, plan: Plan) -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Name, caption, and what draws it when given `optuna.visualization` or `optuna.visualization.matplotlib`."""
    search, random = with_short_names(studies.search), with_short_names(studies.random)
    one: dict[str, Any] = {"target_name": f"{plan.metrics[0]} (%)"}
    if len(plan.metrics) > 1:
        one["target"] = lambda trial: trial.values[0]
    both = [search, random] if plan.random else [search]
    yield "history", "History: the search and random search", lambda to: to.plot_optimization_history(both, **one)
    if len(plan.metrics) > 1:
        shown = [f"{metric.partition('/')[0]} {metric.rpartition('/')[2]} (%)" for metric in plan.metrics[:3]]
        if len(plan.metrics) <= 3:
            yield PARETO, "Pareto front", lambda to: to.plot_pareto_front(search, target_names=shown)
    else:
        yield VALIDATION, "Validation while training", lambda to: to.plot_intermediate_values(search)
    yield "importances", "Importances (fANOVA)", lambda to: to.plot_param_importances(search, **one)
    yield (
        "parallel",
        "Parallel coordinates",
        lambda to: to.plot_parallel_coordinate(search, params=_varied(search), **one),
    )
    yield "slices", "Slices", lambda to: to.plot_slice(search, params=_varied(search)[:MOST_SLICES], **one)


def with_short_names(study: Study) -> Study:
    """A copy in memory whose parameters have the names that fit into a plot: ``avsa.0.share``."""
    import optuna

    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    for trial in study.get_trials():
        if trial.state.is_finished():
            trial.params = {_short(path): value for path, value in trial.params.items()}
            trial.distributions = {_short(path): found for path, found in trial.distributions.items()}
            copy.add_trial(trial)
    return copy


def _short(path: str) -> str:
    for section in ("pretrain.runs.", "pretrain.", "model."):
        path = path.removeprefix(section)
    return path


def interactive(studies: Studies, plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Name, caption and HTML of every plot that can be drawn; the first one brings the code of all."""
    import optuna.visualization as visualization

    code: bool | str = True
    for name, caption, draw in plots(studies, plan):
        figure = _tried(lambda draw=draw: draw(visualization))  # type: ignore[misc]
        if figure is not None:
            figure.update_layout(title=None, autosize=True, margin_t=40)
            if name == VALIDATION:
                figure.update_layout(xaxis_title=seen(plan), yaxis_title=WITHIN)
            if name == PARETO:
                figure.update_layout(height=700, scene_camera_eye={"x": 1.75, "y": 1.75, "z": 0.9})
            yield name, caption, figure.to_html(full_html=False, include_plotlyjs=code)
            code = False


def pictures(studies: Studies, plan: Plan, folder: Path) -> Iterator[Path]:
    """The same plots as PNG files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as visualization

    for name, caption, draw in plots(studies, plan):
        axes = _tried(lambda draw=draw: draw(visualization))  # type: ignore[misc]
        if axes is not None:
            figure = plt.gcf()
            panels = len(axes) if hasattr(axes, "__len__") else 1
            coordinates = figure.axes if name == "parallel" else []
            figure.set_size_inches(max(SIZE[0], PANEL * panels, AXIS * len(coordinates)), SIZE[1])
            for coordinate in coordinates:
                coordinate.grid(visible=False)
            _readable(figure)
            if hasattr(axes, "zaxis"):
                for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
                    axis.labelpad = 12
                axes.set_box_aspect(None, zoom=0.85)
            if name == VALIDATION:
                axes.set(title=caption, xlabel=seen(plan), ylabel=WITHIN)
                if legend := axes.get_legend():
                    legend.remove()  # a line per trial; the page names it under the pointer
            figure.savefig(folder / f"{name}.png", dpi=100, bbox_inches="tight")
            yield folder / f"{name}.png"
        plt.close("all")


def _readable(figure: Any) -> None:
    """Logarithmic axes name powers of ten and no more than they have room for."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())


def _varied(study: Study) -> list[str]:
    """Parameters of complete trials, the ones of all trials first."""
    counts: dict[str, int] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE":
            for name in trial.params:
                counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def _tried(draw: Callable[[], Any]) -> Any:
    """What is drawn; None where the trials are too few or too much alike for this kind of plot."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            return draw()
        except (ValueError, RuntimeError, ZeroDivisionError, IndexError, KeyError):
            return None
        finally:
            optuna.logging.set_verbosity(level)
