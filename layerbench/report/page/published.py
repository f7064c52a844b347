"""Published times of the same shapes beside ours: bars on a log axis, of one layer and pass at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import against_cells, describe
from layerbench.report.cells import NOTHING
from layerbench.report.columns import row_tuples
from layerbench.report.marks import look
from layerbench.report.page import palette, words
from layerbench.report.page.section import (
    ROWS_SHOWN,
    Chart,
    Choice,
    Key,
    Section,
    Table,
    Trace,
    around,
    axis,
    layout,
    meta,
)
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

_TICKS = [digit * 10.0**power for power in range(-8, 4) for digit in (1, 3)]
"""Seconds that may stand on the axis."""

_SHAPES = 200
"""More layers and passes than this are in the CSV file only."""


def section(tables: Tables) -> Section | None:
    """None where nothing was published of any shape, unless it was asked for."""
    frame = _marked(tables)
    if frame.empty:
        return _asked(tables, Section("published", against_cells.TITLE)) if tables.against is not None else None
    pairs = list(frame.groupby(["layer", "part"], observed=True, sort=False))
    shapes = {str(number): rows for number, (_, rows) in enumerate(pairs[:_SHAPES])}
    kinds = words.kinds(tables)
    keys = [Key("swatch", f"here, {kind}", look(kind, kinds).colour) for kind in kinds if (frame["kind"] == kind).any()]
    notes = [] if len(pairs) <= _SHAPES else [f"{len(pairs) - _SHAPES:,} more shapes are in reference.csv."]
    keys += [Key(mark, mark) for mark in ("noisy", "throttled") if frame[mark].any()]
    found = Section(
        "published",
        "Published times of the same shapes",
        "By DeepBench, on one device, of the same dtype, shape and pass.",
        [_chart(tables, shapes)],
        [*keys, Key("published", "published")],
        [Choice("shape", "Layer and pass", {number: _shape(rows) for number, rows in shapes.items()})],
        notes,
        _numbers(tables),
    )
    return found if tables.against is None else _asked(tables, found)


def _asked(tables: Tables, section: Section) -> Section:
    """The section as it is where devices were asked for: with the means, and what has no published time."""
    letters = words.letters(tables)
    shown: list[tuple[str, Table]] = []
    specs: dict[str, dict[str, str]] = {}
    told = []
    for of_run in tables.each():
        (label,) = of_run.runs
        against = of_run.against
        assert against is not None
        run = f"Run {letters[label]}: " if letters[label] else ""
        told += [run + sentence for sentence in against_cells.sentences(against)]
        if means := against_cells.means(against):
            name = f"Means by operation{words.of_run(letters[label])}"
            shown.append((name, Table(against_cells.MEANS_HEAD, means, frozenset(against_cells.MEANS_RIGHT))))
        specs |= against_cells.specs(against)
    if not shown:
        return replace(section, title=against_cells.TITLE, absent=told)
    names = list(dict.fromkeys(name for of_device in specs.values() for name in of_device))
    rows = [[name, *(of_device.get(name, NOTHING) for of_device in specs.values())] for name in names]
    shown.append(("As DeepBench describes them", Table(["", *specs], rows)))
    return replace(section, title=against_cells.TITLE, lead=against_cells.EXPLAINED, absent=told, shown=shown)


def _timed(tables: Tables) -> pd.DataFrame:
    """Shapes that have a time of ours to compare."""
    return tables.reference[tables.reference["median"].notna()]


def _marked(tables: Tables) -> pd.DataFrame:
    """The frame, with what is to be known of each of our records."""
    frame = _timed(tables)
    if frame.empty:
        return frame
    keys, marks = ["run", "layer", "part", "nodes"], ["placement", "ci_method", "noisy", "throttled"]
    records = tables.records
    ours = records.loc[records["layer"].isin(frame["layer"].unique()), [*keys, *marks]]
    words_ = dict.fromkeys(keys[:3], "str")
    return frame.astype(words_).merge(ours.astype(words_), how="left", on=keys)


def _shape(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{first['layer']}, {words.pass_label(first['part'])}"


def _chart(tables: Tables, shapes: dict[str, pd.DataFrame]) -> Chart:
    data = [trace for number, rows in shapes.items() for trace in _traces(tables, number, rows)]
    first = next(iter(shapes.values()))
    most = max(len(rows.drop_duplicates(["device", "stage"])) + rows["run"].nunique() for rows in shapes.values())
    return Chart(
        "published-chart",
        "",
        f"Times here and on other devices, logarithmic. {_told(first)}",
        data,
        layout(
            90 + 30 * most,
            axis("", type="log", tickvals=_TICKS, ticktext=[units.seconds(value) for value in _TICKS]),
            axis("", type="category", autorange="reversed", showgrid=False),
            right=64,
            bargap=0.3,
        ),
    )


def _told(rows: pd.DataFrame) -> str:
    times = [
        f"{row.device} {units.seconds(row.published_seconds)}" for row in row_tuples(rows.drop_duplicates("device"))
    ]
    return f"{_shape(rows)}: here {units.seconds(rows['median'].iloc[0])}, {describe.listed(times, shown=8)}."


def _traces(tables: Tables, number: str, rows: pd.DataFrame) -> list[Trace]:
    kinds, letters = words.kinds(tables), words.letters(tables)
    traces: list[Trace] = []
    for run, (label, letter) in enumerate(letters.items()):
        of_run = rows[rows["run"] == label]
        if of_run.empty:
            continue
        row = next(row_tuples(of_run))
        style = look(str(row.kind), kinds)
        name, about = f"here{words.of_run(letter)}", meta(run, str(row.kind), shape=number)
        told = ", ".join([words.timing(row.median, row.ci_low, row.ci_high, str(row.ci_method)), *words.states(row)])
        bar = _bar(name, float(row.median), units.seconds(row.median), told, style.colour, "")
        traces.append(bar | {"meta": about})
        traces += [around(mark, bar["x"], bar["y"], about) for mark in ("noisy", "throttled") if getattr(row, mark)]
    kind = str(rows["kind"].iloc[0])
    devices = rows.drop_duplicates(["device", "stage"]).sort_values("published_seconds")
    for row in row_tuples(devices):
        name = f"{row.device}" if devices["stage"].nunique() == 1 else f"{row.device}, {row.stage}"
        ratios = [
            f"{words.number(other.ratio)} of the time here{words.of_run(letters[str(other.run)])}"
            for other in row_tuples(rows[(rows["device"] == row.device) & (rows["stage"] == row.stage)])
            if not math.isnan(other.ratio)
        ]
        told = f"{units.seconds(row.published_seconds)}, {row.stage}"
        traces.append(
            _bar(
                name,
                float(row.published_seconds),
                units.seconds(row.published_seconds),
                told,
                palette.FAINT,
                "/",
                ratios,
            )
            | {"meta": meta(None, kind, shape=number)}
        )
    return traces


def _bar(
    name: str, seconds: float, text: str, told: str, colour: str, pattern: str, more: list[str] | None = None
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": words.escaped(name),
        "x": [seconds],
        "y": [words.shortened(name, 26)],
        "marker": {
            "color": colour,
            "line": {"color": colour, "width": 1},
            "pattern": {
                "shape": pattern,
                "size": 6,
                "solidity": 0.3,
                "bgcolor": palette.PAPER if pattern else colour,
                "fgcolor": colour,
            },
        },
        "text": [text],
        "textposition": "outside",
        "textfont": {"size": 12, "color": palette.INK},
        "cliponaxis": False,
        "hovertext": [words.lines(name, told, *(more or []))],
        "hoverinfo": "text",
    }


def _numbers(tables: Tables) -> Table:
    several, letters = len(tables.runs) > 1, words.letters(tables)
    frame = _timed(tables)
    rows = [
        [
            *([letters[str(row.run)]] if several else []),
            str(row.layer),
            words.pass_label(row.part),
            units.seconds(row.median),
            words.interval(row.median, row.ci_low, row.ci_high),
            str(row.device),
            str(row.stage),
            units.seconds(row.published_seconds),
            words.number(row.ratio),
        ]
        for row in row_tuples(frame.head(ROWS_SHOWN))
    ]
    head = [*(["run"] if several else []), "layer", "pass", "here", "95 % interval", "device", "stage", "published"]
    head.append("published / here")
    last = len(head) - 1
    rest = f"{len(frame) - ROWS_SHOWN:,} more are in reference.csv." if len(frame) > ROWS_SHOWN else ""
    return Table(head, rows, frozenset({last - 5, last - 4, last - 1, last}), rest)
