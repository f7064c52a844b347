"""Systems and jobs as tables and as JSON."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from layerbench.batch import submission as submissions
from layerbench.batch.follow import Look
from layerbench.batch.system import System
from layerbench.batch.verdict import OVER
from layerbench.errors import UsageError


def of_systems(names: Sequence[str]) -> list[dict[str, Any]]:
    """Systems in a few words each; what is wrong with a user's own file stands in the place of its description."""
    from layerbench.batch import system as systems

    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            system = systems.load(name)
        except UsageError as error:
            rows.append({"name": name, "scheduler": None, "launcher": None, "nodes": None, "description": str(error)})
            continue
        rows.append(
            {
                "name": name,
                "scheduler": system.scheduler,
                "launcher": system.launcher,
                "nodes": system.nodes,
                "description": system.description,
            }
        )
    return rows


def systems_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("system", "scheduler", "launcher", "nodes", "")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    return table


def of_system(system: System) -> dict[str, Any]:
    """A system's entries, all of them."""
    entries: dict[str, Any] = msgspec.to_builtins(system)
    return entries


def system_table(system: System) -> Table:
    """A system's entries that say something."""
    table = _table("entry", "value")
    for entry, value in of_system(system).items():
        if value in ("", None, [], {}):
            continue
        lines = (
            value
            if isinstance(value, list)
            else [f"{key} = {one}" for key, one in value.items()]
            if isinstance(value, dict)
            else [str(value).lower() if isinstance(value, bool) else str(value)]
        )
        table.add_row(Text(entry), Text("\n".join(lines)))
    return table


def of_jobs(seen: Sequence[tuple[Path, Look]]) -> list[dict[str, Any]]:
    """Jobs as plain values, in the order in which they were submitted."""
    rows = []
    for run, look in seen:
        submission = submissions.load(run)
        latest = submission.latest()
        for job in submission.jobs:
            verdict = look.verdicts.get(job.name)
            if verdict is None:
                continue
            rows.append(
                {
                    "name": job.name,
                    "id": job.id,
                    "system": submission.system.name,
                    "nodes": job.nodes,
                    "state": verdict.outcome,
                    "exit_code": verdict.exit_code,
                    "submitted": job.begun,
                    "run": str(run),
                    # Of a job that another has gone on from, there is nothing to do any more.
                    "note": verdict.note if job in latest else "",
                }
            )
    return rows


def jobs_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("job", "id", "system", "nodes", "state", "results")
    for row in rows:
        nodes = ",".join(map(str, row["nodes"]))
        table.add_row(*map(Text, (row["name"], row["id"], row["system"], nodes, row["state"], row["run"])))
    return table


_NEWS = 7 * 24 * 3600.0
"""Seconds for which what to do about a job that is over is said without being asked for."""


def is_news(row: dict[str, Any]) -> bool:
    """Whether the note on a job is of use to who looks at all jobs: it is not over, or only since a week."""
    newest = 0.0
    with contextlib.suppress(OSError):
        for path in submissions.folder(Path(row["run"])).iterdir():
            if path.stem == row["name"]:
                newest = max(newest, path.stat().st_mtime)
    return row["state"] not in OVER or time.time() - newest < _NEWS


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
