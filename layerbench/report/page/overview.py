"""What was run, where and when: the head of the page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from layerbench.records import Manifest
from layerbench.report import cells, describe
from layerbench.report.columns import RunColumns
from layerbench.report.page import words
from layerbench.report.tables import Tables

WARNINGS_SHOWN = 12
FAULTS_SHOWN = 200
_REASON = 400
"""Characters of a reason, which may end with a log; the records below have all of it."""


@dataclass(frozen=True)
class RunHead:
    """One run in short."""

    label: str
    letter: str
    heading: str
    settings: str
    when: str
    warnings: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Fact:
    """One fact of every run, in words; ``differs`` if runs disagree on it."""

    name: str
    values: Sequence[str]
    differs: bool


@dataclass(frozen=True)
class Facts:
    """Facts under one heading, and in words in which of them the runs differ."""

    title: str
    rows: Sequence[Fact]
    differences: str


def heads(tables: Tables) -> list[RunHead]:
    """Each run with what is wrong with its folder and what its marks mean."""
    told = []
    for of_run, (label, letter) in zip(tables.each(), words.letters(tables).items(), strict=True):
        run = of_run.run
        missing = describe.missing(of_run)
        notes = [describe.waiting, describe.emulation, describe.oversubscription, describe.noisy, describe.throttled]
        told.append(
            RunHead(
                label,
                letter,
                describe.heading(run.manifest),
                ", ".join(describe.settings(run)),
                when(run.manifest),
                [*_short(run.warnings), *([f"Not measured yet: {missing}."] if missing else [])],
                [*filter(None, (note(of_run) for note in notes)), *_range(of_run)],
            )
        )
    return told


def _range(of_run: Tables) -> list[str]:
    few = (of_run.records["ci_method"] == "range").any()
    return ["range: of all samples, which are too few for a 95 % interval"] if few else []


def _short(warnings: Sequence[str]) -> list[str]:
    rest = len(warnings) - WARNINGS_SHOWN
    return [*warnings[:WARNINGS_SHOWN], *([f"and {rest:,} more of the kind"] if rest > 0 else [])]


def when(manifest: Manifest) -> str:
    """From when to when, and how it ended: ``2 January 2026, 03:04 to 03:06 UTC; complete``."""
    start, end = _time(manifest.start), _time(manifest.end)
    if start is None:
        return describe.outcome(manifest)
    told = f"{start.day} {start:%B %Y, %H:%M}"
    if end is not None:
        told += f" to {end:%H:%M}" if end.date() == start.date() else f" to {end.day} {end:%B %Y, %H:%M}"
    return f"{told} UTC; {describe.outcome(manifest)}"


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def facts(tables: Tables) -> list[Facts]:
    """Settings and environment of every run, side by side."""
    runs = list(tables.runs.values())
    return [
        _compared("Settings", [_settings(run) for run in runs]),
        _compared("Environment", [describe.facts(run) for run in runs]),
    ]


def _settings(run: RunColumns) -> dict[str, str]:
    options = run.manifest.options
    told = {name.replace("_", " "): getattr(options, name) for name in options.__struct_fields__}
    return {name: _told(value) for name, value in told.items() if value not in ("", [])}


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"{one:,}" if isinstance(one, int) else str(one) for one in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _compared(title: str, runs: Sequence[dict[str, str]]) -> Facts:
    names = dict.fromkeys(name for run in runs for name in run)
    rows = [Fact(name, values, len(set(values)) > 1) for name in names for values in [_of(runs, name)]]
    different = [row.name for row in rows if row.differs]
    if len(runs) == 1:
        return Facts(title, rows, "")
    same = len(rows) - len(different)
    if not different:
        return Facts(title, rows, f"the runs agree in all {same:,} of them.")
    return Facts(title, rows, f"the runs differ in {describe.listed(different, shown=14)}; in {same:,} they agree.")


def _of(runs: Sequence[dict[str, str]], name: str) -> list[str]:
    return [run.get(name, cells.NOTHING) for run in runs]


@dataclass(frozen=True)
class Faults:
    """What has no time, and why."""

    rows: Sequence[Sequence[str]]
    rest: int


def faults(tables: Tables) -> Faults:
    """Failed and skipped records of all runs, those with one reason together."""
    rows = []
    letters = words.letters(tables)
    for of_run in tables.each():
        (label,) = of_run.runs
        for fault in describe.faults(of_run):
            parts = ", ".join(map(words.pass_label, fault.parts))
            reason = textwrap.shorten(fault.reason, _REASON, placeholder=" …")
            rows.append([letters[label], fault.status, fault.layer, f"{fault.nodes:,}", parts, reason])
    return Faults(rows[:FAULTS_SHOWN], max(0, len(rows) - FAULTS_SHOWN))
