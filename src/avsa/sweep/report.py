"""The report of a search: one page, its plots as pictures, and every trial in a file."""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from avsa.sweep.plan import Plan
from avsa.sweep.plots import interactive, pictures
from avsa.sweep.storage import file_hash, public
from avsa.sweep.studies import IDENTITY, Studies
from avsa.sweep.summary import best_table, effort_table, finalists_table, values_table, verdicts

PAGE, TRIALS = "report.html", "trials.jsonl"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:left}"
    "td:first-child{white-space:nowrap}.plot{overflow-x:auto}"
)

FINALISTS = (
    " Finalists are trained with seeds that the search has not seen; they alone are measured on the test split too, "
    "which no choice depends on."
)
DIFFERENCES = "Differences are paired by seed, with Student's 95 % intervals over seeds. "


def write_report(studies: Studies, plan: Plan, url: str, folder: Path) -> dict[str, str]:
    """Write the report into a folder, in place of what an earlier one left. Returns hashes of what the studies held.

    ``trials``: of all trials as ``trials.jsonl`` has them, whatever the storage; ``database``: of the storage's file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content = "".join(f"{line}\n" for line in trial_lines(studies))
    (folder / TRIALS).write_text(content, encoding="utf-8")
    hashes = {"trials": hashlib.sha256(content.encode()).hexdigest(), "database": file_hash(url)}
    (folder / PAGE).write_text(page(studies, plan, url, hashes), encoding="utf-8")
    list(pictures(studies, plan, folder))
    return hashes


def trial_lines(studies: Studies) -> list[str]:
    """Every trial of the studies as a line of JSON, in the order of their numbers."""
    lines = []
    for study in studies:
        for trial in study.get_trials(deepcopy=False):
            content = {
                "study": study.study_name,
                "number": trial.number,
                "state": trial.state.name,
                "values": trial.values,
                "params": trial.params,
                "reported": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
                "facts": {key: value for key, value in trial.user_attrs.items() if key not in ("process", "alive")},
            }
            lines.append(json.dumps(content, sort_keys=True))
    return lines


def page(studies: Studies, plan: Plan, url: str, hashes: dict[str, str]) -> str:
    """The page, in one piece: it needs no other file and no network."""
    budget = f"{plan.budget.total:,} {'clips' if plan.budget.clips else 'crops'}"
    parts = [
        f"<h1>Search {html.escape(plan.study)}</h1>",
        f"<p>Each trial trains {', '.join(map(html.escape, plan.runs))} on {budget} from the same seed, {plan.seed}, "
        f"and is measured on the validation split.{FINALISTS if plan.finalists.count else ''}</p>",
        "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in verdicts(studies, plan)) + "</ul>",
        f"<p>{DIFFERENCES if plan.finalists.count else ''}Intervals of single trials, below, are over clips.</p>",
    ]
    for title, rows in (
        ("Finalists", finalists_table(studies, plan)),
        ("Best trials", best_table(studies, plan)),
        ("Configurations", values_table(studies, plan)),
        ("Effort", effort_table(studies, plan)),
    ):
        if rows:
            parts.append(f"<h2>{title}</h2>{_table(rows)}")
    for _, caption, drawn in interactive(studies, plan):
        parts.append(f"<h2>{html.escape(caption)}</h2><div class=plot>{drawn}</div>")
    known = {"storage": public(url), **studies.search.user_attrs.get(IDENTITY, {}), **hashes}
    parts.append("<h2>Provenance</h2>" + _table([["what", "hash"], *([key, value] for key, value in known.items())]))
    title = f"<title>Search {html.escape(plan.study)}</title>"
    body = "\n".join(parts)
    return f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{STYLE}</style><body>{body}</body></html>\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"
