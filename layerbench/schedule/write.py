"""The files of a plan: the plan itself, what it was compared with, the picture, and the page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from layerbench import files, outputs
from layerbench.errors import StoreError
from layerbench.report import html_extra
from layerbench.schedule import gantt
from layerbench.schedule.comparison import Row
from layerbench.schedule.plan import Plan

PLAN_JSON, PLAN_CSV, COMPARISON = "plan.json", "plan.csv", "comparison.csv"
GANTT_PNG, GANTT_SVG = "gantt.png", "gantt.svg"
PAGE = "schedule.html"

FILES = (PLAN_JSON, PLAN_CSV, COMPARISON, GANTT_PNG, GANTT_SVG, PAGE)
"""All that may be written into a folder."""


def write(
    plan: Plan, rows: Sequence[Row], folder: Path, html: bool | None = None, inputs: Sequence[Path] = ()
) -> list[Path]:
    """Write a plan into a folder.

    Parameters
    ----------
    plan, rows
        The plan, and what other schemes would give.
    folder
        Where to; made if it is not there.
    html
        Whether to make the page ``schedule.html``; by default, if what it needs is installed.
    inputs
        What was read: a file of jobs, or a run. None of it is overwritten.

    Returns
    -------
    list of Path
        The files that were written. Those of an earlier plan that this one has not are removed.

    Raises
    ------
    UsageError
        If the folder is a run's own or a file, an input would be overwritten, or the page is asked for and cannot be
        made; nothing is written then.
    StoreError
        If a file cannot be written; an earlier plan there is left whole.
    """
    page = html_extra.wanted(html)
    outputs.check_folder(folder, inputs, FILES, what="schedule")
    try:
        written = files.all_or_none(folder, lambda draft: _drafted(draft, plan, rows, html=page))
        for stale in {folder / name for name in FILES} - set(written):
            # What an earlier plan had and this one has not would contradict it.
            stale.unlink(missing_ok=True)
        return written
    except OSError as error:
        raise StoreError(
            f"the plan cannot be written to {folder}: {error.strerror or error}; name another folder with --output"
        ) from error


def page_left_out() -> str:
    """Why there is no page though nobody asked for none; empty where there is one."""
    return html_extra.left_out(PAGE)


def _drafted(draft: Path, plan: Plan, rows: Sequence[Row], *, html: bool) -> list[str]:
    """Write every file; their names."""
    contents = {PLAN_JSON: _json(plan), PLAN_CSV: _csv(_JOB_COLUMNS, map(dict.values, _jobs(plan)))}
    if rows:
        contents[COMPARISON] = _csv(_ROW_COLUMNS, (_compared(row, plan) for row in rows))
    drawn = gantt.draw(plan, rows)
    contents |= {GANTT_PNG: gantt.rendered(drawn, "png"), GANTT_SVG: gantt.rendered(drawn, "svg")}
    if html:
        from layerbench.schedule import page

        contents[PAGE] = page.render(plan, rows)
    for name, content in contents.items():
        (draft / name).write_bytes(content)
    return list(contents)


_JOB_COLUMNS = ("job", "type", "nodes", "start", "end")
_ROW_COLUMNS = ("policy", "description", "makespan", "ratio", "mean_completion", "node_seconds")


def document(plan: Plan) -> dict[str, Any]:
    """A plan as ``plan.json`` has it: times in seconds; the gap is None where there is no bound."""
    return {
        "nodes": plan.nodes,
        "makespan": plan.makespan,
        "lower_bound": plan.lower_bound,
        "gap": plan.gap if math.isfinite(plan.gap) else None,
        "bounds": plan.bounds,
        "policy": plan.policy,
        "objective": plan.objective,
        "proven": plan.proven,
        "utilisation": plan.utilisation,
        "jobs": _jobs(plan),
    }


def _jobs(plan: Plan) -> list[dict[str, Any]]:
    values = ((one.job.name, one.job.type, one.nodes, one.start, one.end) for one in plan.placements)
    return [dict(zip(_JOB_COLUMNS, row, strict=True)) for row in values]


def _json(plan: Plan) -> bytes:
    """One job a line: to be read, compared and searched."""
    told = document(plan)
    jobs = ",\n".join(f"    {json.dumps(job, allow_nan=False)}" for job in told.pop("jobs"))
    head = json.dumps(told, indent=2, allow_nan=False).removesuffix("\n}")
    return f'{head},\n  "jobs": [\n{jobs}\n  ]\n}}\n'.encode()


def _compared(row: Row, plan: Plan) -> tuple[Any, ...]:
    ratio = row.makespan / plan.makespan
    return (row.policy, row.description, row.makespan, ratio, row.mean_completion, row.node_seconds)


def _csv(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    # A name from JSON may hold half a character, which no text may.
    return out.getvalue().encode("utf-8", "backslashreplace")
