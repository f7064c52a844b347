"""What a step is made of: stacked bars of its parts, a chart for each layer type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report import cells, describe, marks
from layerbench.report.columns import row_tuples
from layerbench.report.curves import unit_of
from layerbench.report.page import palette, words
from layerbench.report.page.scaling import placements
from layerbench.report.page.section import (
    Chart,
    Choice,
    Key,
    Section,
    Table,
    Trace,
    around,
    axis,
    crosses,
    layout,
    meta,
)
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

PATTERNS = {"forward": "", "backward_data": ".", "backward_weights": "/", "communication": "x"}

MODE = Choice("mode", "Show", {"time": "time", "share": "share of the step"})

_GAP = 0.6
"""Between the bars of neighbouring node counts, in bars."""

_HALF = 0.45

_FEW = 10
"""More bars than this have the width of the page."""

_SLOTS = 4.0
"""Bars for which there is room at least, so that one bar is no wall."""


class _Bar(NamedTuple):
    """Where the bar of a run and node count stands, and what it is of: a row of ``layer_types``."""

    x: float
    run: int
    letter: str
    row: Any


def section(tables: Tables) -> Section:
    """A chart for each type; times by themselves, or as shares of the step."""
    frame = tables.breakdown
    if frame.empty:
        absent = ["No layer type is complete at any node count, so no step can be taken apart."]
        return Section("breakdown", "Parts of a step", absent=absent)
    charts = [_chart(tables, kind, number) for number, kind in enumerate(words.kinds(tables))]
    hollow = "emulated: hollow, ○ below"
    keys = [Key(f"part {part}", _called(part), palette.PARTS[part]) for part in PATTERNS]
    keys += [Key("hollow", hollow)] if "emulated" in placements(frame) else []
    keys.append(Key("step", "the step itself"))
    types = tables.layer_types
    keys += [Key(mark, mark) for mark in ("noisy", "throttled") if types[mark].any()]
    keys += [] if types["complete"].all() else [Key("incomplete", "incomplete")]
    return Section(
        "breakdown",
        "Parts of a step",
        "Medians of each part, summed over the layers of a type. All communication is exposed. "
        + describe.PARTS_AND_STEP,
        charts,
        keys,
        [MODE],
        numbers=_numbers(tables),
    )


def _called(part: str) -> str:
    return "exposed communication" if part == "communication" else part.replace("_", " ")


def _chart(tables: Tables, kind: str, number: int) -> Chart:
    types = tables.layer_types[tables.layer_types["kind"] == kind]
    bars = _bars(tables, types)
    frame = tables.breakdown[tables.breakdown["kind"] == kind]
    few = len(bars) <= _FEW
    known = types.loc[types["complete"], "seconds"]
    unit, scale = unit_of(known) if len(known) and known.min() > 0 else ("s", 1.0)
    values = {(str(row.run), row.nodes, str(row.part)): row for row in row_tuples(frame)}
    top = {"time": float(known.max()) / scale if len(known) else 1.0, "share": 1.0}
    data = [
        trace
        for mode in MODE.options
        for trace in _traces(kind, bars, values, mode, scale, 0.03 * top[mode])
        if trace["x"]
    ]
    return Chart(
        f"breakdown-{number}",
        words.type_label(tables, kind),
        f"Parts of a step of {kind} by node count: {_share(frame, tables)}.",
        data,
        layout(
            300,
            axis("nodes", showgrid=False, tickangle=0, **_ticks(bars)),
            axis(unit, rangemode="tozero"),
            yaxis2=axis("share of the step", overlaying="y", rangemode="tozero", tickformat=".0%"),
            barmode="stack",
        ),
        wide=not few,
    )


def _bars(tables: Tables, types: pd.DataFrame) -> list[_Bar]:
    """Bars from left to right: by node count, and within one by run."""
    runs = {label: (index, letter) for index, (label, letter) in enumerate(words.letters(tables).items())}
    bars: list[_Bar] = []
    x, last = -1.0, None
    for row in row_tuples(types.sort_values(["nodes", "run"], kind="stable")):
        x += 1 if row.nodes == last or last is None or len(runs) == 1 else 1 + _GAP
        last = row.nodes
        bars.append(_Bar(x, *runs[str(row.run)], row))
    return bars


def _ticks(bars: Sequence[_Bar]) -> dict[str, Any]:
    """Each bar's letter, and the node count below the first of its group; a circle where it is emulated."""
    texts, last = [], None
    for bar in bars:
        count = f"{bar.row.nodes:,}" if bar.row.nodes != last else ""
        last = bar.row.nodes
        hollow = "○" if bar.row.placement == "emulated" else ""
        texts.append("<br>".join((bar.letter, hollow, count)) if bar.letter else f"{count}<br>{hollow}")
    middle, half = (bars[0].x + bars[-1].x) / 2, max(_SLOTS, bars[-1].x - bars[0].x + 1.4) / 2
    return {"tickvals": [bar.x for bar in bars], "ticktext": texts, "range": [middle - half, middle + half]}


def _traces(
    kind: str, bars: Sequence[_Bar], values: dict[tuple[str, int, str], Any], mode: str, scale: float, floor: float
) -> Iterator[Trace]:
    """Of each run by itself, so that it can be hidden."""
    y_axis = "y" if mode == "time" else "y2"
    for run in dict.fromkeys(bar.run for bar in bars):
        of_run = [bar for bar in bars if bar.run == run]
        whole = [bar for bar in of_run if bar.row.complete]
        about = meta(run, kind, mode=mode)
        for part, pattern in PATTERNS.items():
            for placement in ("measured", "emulated"):
                stacked = [
                    (bar, values[str(bar.row.run), bar.row.nodes, part])
                    for bar in whole
                    if bar.row.placement == placement and values[str(bar.row.run), bar.row.nodes, part].seconds > 0
                ]
                y = [value.seconds / scale if mode == "time" else value.share for _, value in stacked]
                texts = [_told(kind, bar, value) for bar, value in stacked]
                yield {
                    "type": "bar",
                    "name": f"{part} {placement}",
                    "x": [bar.x for bar, _ in stacked],
                    "y": y,
                    "width": 2 * _HALF,
                    "marker": _fill(part, pattern, placement),
                    "hovertext": texts,
                    "hoverinfo": "text",
                    "textposition": "none",
                    "meta": about,
                    "yaxis": y_axis,
                }
        yield from _steps(kind, whole, mode, scale, about, 15 if len(bars) <= _FEW else 9)
        absent = [bar for bar in of_run if not bar.row.complete]
        texts = [words.lines(_where(kind, bar), words.lacking(bar.row.missing)) for bar in absent]
        yield crosses([bar.x for bar in absent], [floor] * len(absent), texts, palette.INK, about, yaxis=y_axis)


def _steps(
    kind: str, whole: Sequence[_Bar], mode: str, scale: float, about: dict[str, Any], size: int
) -> Iterator[Trace]:
    """A line where the step itself is, and the marks around it."""
    y_axis = "y" if mode == "time" else "y2"
    height = {bar.x: bar.row.seconds / scale if mode == "time" else 1.0 for bar in whole}
    yield {
        "type": "scatter",
        "mode": "markers",
        "name": "step",
        "x": list(height),
        "y": list(height.values()),
        "marker": {"symbol": "line-ew", "size": size, "line": {"width": 2, "color": palette.INK}},
        "hovertext": [
            words.lines(
                _where(kind, bar),
                "step " + words.timing(bar.row.seconds, bar.row.ci_low, bar.row.ci_high, bar.row.ci_method),
                ", ".join(words.states(bar.row)),
            )
            for bar in whole
        ],
        "hoverinfo": "text",
        "cliponaxis": False,
        "meta": about,
        "yaxis": y_axis,
    }
    for mark in ("noisy", "throttled"):
        x = [bar.x for bar in whole if getattr(bar.row, mark)]
        yield around(mark, x, [height[place] for place in x], about) | {"yaxis": y_axis}


def _fill(part: str, pattern: str, placement: str) -> dict[str, Any]:
    """Filled where it was measured; only outlined and hatched where it was emulated."""
    colour, hollow = palette.PARTS[part], placement == "emulated"
    hatch = {"shape": pattern, "size": 7, "solidity": 0.25, "fgcolor": palette.QUIET if hollow else palette.HATCH}
    if part == "communication":
        hatch["fgcolor"] = colour if hollow else palette.PAPER
    return {
        "color": palette.PAPER if hollow else colour,
        "line": {"color": marks.VERMILION if part == "communication" else palette.FAINT, "width": 1},
        "pattern": hatch | {"bgcolor": palette.PAPER if hollow else colour},
    }


def _where(kind: str, bar: _Bar) -> str:
    return f"{kind}, {describe.plural(bar.row.nodes, 'node')}{words.of_run(bar.letter)}"


def _told(kind: str, bar: _Bar, value: Any) -> str:
    told = f"{_called(str(value.part))} {units.seconds(value.seconds)}, {cells.percent(value.share)} of the step"
    return words.lines(_where(kind, bar), told, ", ".join(words.states(bar.row)))


def _share(frame: pd.DataFrame, tables: Tables) -> str:
    """Communication's share at the most nodes, in words."""
    exchanged = frame[frame["part"] == "communication"]
    if exchanged.empty:
        return "incomplete at every count"
    called = words.letters(tables)
    told = []
    for run, of_run in exchanged.groupby("run", observed=True):
        last = of_run.sort_values("nodes").iloc[-1]
        where = f"{describe.plural(int(last['nodes']), 'node')}{words.of_run(called[str(run)])}"
        told.append(f"communication is {cells.percent(last['share'])} of it on {where}")
    return describe.listed(told, shown=4)


def _numbers(tables: Tables) -> Table:
    several = len(tables.runs) > 1
    letters = words.letters(tables)
    steps: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for row in row_tuples(tables.breakdown):
        steps.setdefault((str(row.run), row.kind, row.nodes, row.placement), {})[str(row.part)] = row
    rows = []
    for (run, kind, nodes, placement), parts in steps.items():
        told = [f"{units.seconds(parts[part].seconds)} ({cells.percent(parts[part].share)})" for part in PATTERNS]
        step = units.seconds(next(iter(parts.values())).step_seconds)
        rows.append([*([letters[run]] if several else []), kind, f"{nodes:,}", placement, *told, step])
    head = [*(["run"] if several else []), "type", "nodes", "placement", *map(_called, PATTERNS), "step"]
    first = len(head) - 5
    return Table(head, rows, frozenset({first - 2, *range(first, len(head))}))
