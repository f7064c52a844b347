"""The roofline: measured ceilings, and every pass of a layer beneath them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import cells, describe
from layerbench.report.columns import row_tuples
from layerbench.report.marks import look
from layerbench.report.page import palette, scaling, words
from layerbench.report.page.largest import POINTS, largest_records
from layerbench.report.page.section import (
    DASHES,
    ROWS_SHOWN,
    SYMBOLS,
    Chart,
    Choice,
    Key,
    Section,
    Table,
    Trace,
    around,
    axis,
    layout,
    marker,
    meta,
)
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd


_CROWD = 300
"""More points than this are drawn small."""

_ABOVE, _LINE = 1.4, 1.25
"""How far above a ceiling its figures stand, and how far above one another those of several runs, as factors."""

_SIDES = ("bottom right", "top right", "bottom left", "top left")
"""Of a point, where the letters of one run after another stand, since their points may lie together."""


def section(tables: Tables) -> Section:
    """One chart of all runs that have measured ceilings; of the others, why they have none."""
    told = [
        f"Run {letter}: {describe.roofline(run)}" if letter else describe.roofline(run)
        for run, letter in zip(tables.runs.values(), words.letters(tables).values(), strict=True)
    ]
    placed = tables.records[tables.records["fraction_of_roofline"].notna()]
    if placed.empty and not tables.ceilings.empty:
        told.append("No pass of a layer was timed on the device, in the dtype and with the threads of these ceilings.")
    if placed.empty:
        return Section("roofline", "Roofline", absent=told)
    drawn = largest_records(placed)
    fewer = f"The {POINTS:,} that take longest, of {len(placed):,}; all are in records.csv."
    kinds = words.kinds(tables)
    keys = [Key(SYMBOLS[look(k, kinds).marker], words.type_label(tables, k), look(k, kinds).colour) for k in kinds]
    keys += [Key("hollow point" if p == "emulated" else "point", p) for p in scaling.placements(drawn)]
    keys += [Key("line", "measured ceiling")]
    keys += [Key(mark, mark) for mark in ("noisy", "throttled") if drawn[mark].any()]
    keys += scaling.runs(tables)
    counts = sorted({int(nodes) for nodes in drawn["nodes"]})
    parts = list(dict.fromkeys(str(part) for part in drawn["part"]))
    return Section(
        "roofline",
        "Roofline",
        "Each point is a pass of a layer at a node count, on the rank with the largest share.",
        [_chart(tables, drawn)],
        keys,
        [
            _choice("pass", "Pass", {part: words.pass_label(part) for part in parts}),
            _choice("nodes", "Nodes", {str(count): f"{count:,}" for count in counts}),
        ],
        [*told, *([fewer] if len(drawn) < len(placed) else [])],
        _numbers(tables, drawn),
    )


def _choice(name: str, label: str, options: dict[str, str]) -> Choice:
    """All of them, or one; where there is one, that one."""
    return Choice(name, label, {"all": "all", **options} if len(options) > 1 else options)


def _chart(tables: Tables, drawn: pd.DataFrame) -> Chart:
    ridges = tables.ceilings["ridge"].astype("float64")
    x = [*drawn["macs_per_byte"].tolist(), *ridges.tolist()]
    left, right = min(x) / 4, max(x) * 3
    data = _ceilings(tables, left, right) + _points(tables, drawn)
    ends = _span(drawn["fraction_of_roofline"])
    return Chart(
        "roofline-chart",
        "",
        "FLOP/s of one rank against MACs per byte, both logarithmic, beneath the measured ceilings: "
        f"{describe.plural(len(drawn), 'point')}, {ends}.",
        data,
        layout(
            460,
            axis("MACs per byte", type="log", tickformat="~r", fixedrange=False),
            axis("FLOP/s of one rank", type="log", tickformat="~s", fixedrange=False, dtick="D2"),
        ),
        zoom=True,
    )


def _span(fractions: pd.Series[float]) -> str:
    low, high = (cells.percent(float(value)) for value in (fractions.min(), fractions.max()))
    return f"from {low} to {high} of the roofline"


def _ceilings(tables: Tables, left: float, right: float) -> list[Trace]:
    """Of each run the two lines as one, each named with its figure."""
    letters = list(words.letters(tables).values())
    number = {label: index for index, label in enumerate(tables.runs)}
    traces: list[Trace] = []
    for row in row_tuples(tables.ceilings):
        run = number[str(row.run)]
        ridge = float(row.ridge)
        start, end = min(left, ridge / 2), max(right, ridge * 2)
        about = meta(run)
        peak, bandwidth = units.rate(row.flops, "FLOP/s"), units.rate(row.bandwidth, "B/s")
        name = f" ({letters[run]})" if letters[run] else ""
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "ceiling",
                "x": [start, ridge, end],
                "y": [2 * start * float(row.bandwidth), float(row.flops), float(row.flops)],
                "line": {"color": palette.INK, "width": 1.8, "dash": DASHES[run % len(DASHES)]},
                "hoverinfo": "text",
                "hovertext": [
                    words.lines(f"bandwidth {bandwidth}{name}", str(row.bandwidth_source)),
                    words.lines(f"ridge {ridge:.3g} MACs per byte{name}", f"{peak}, {bandwidth}"),
                    words.lines(f"peak {peak}{name}", str(row.flops_source)),
                ],
                "meta": about,
            }
        )
        told = [(end, float(row.flops) * _ABOVE * _LINE**run, f"{letters[run]}: {peak}, {bandwidth}", "middle left")]
        if len(tables.runs) == 1:
            # Left of all points, and above them.
            told = [
                (end, float(row.flops) * _ABOVE, peak, "middle left"),
                (start * 1.1, 2.2 * start * float(row.bandwidth), bandwidth, "bottom right"),
            ]
        traces += [_label(*label, about) for label in told]
    return traces


def _label(x: float, y: float, text: str, position: str, about: dict[str, Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x],
        "y": [y],
        "text": [text],
        "textposition": position,
        "textfont": {"size": 12, "color": palette.INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
        "meta": about,
    }


def _points(tables: Tables, drawn: pd.DataFrame) -> list[Trace]:
    kinds = words.kinds(tables)
    letters = list(words.letters(tables).values())
    number = {label: index for index, label in enumerate(tables.runs)}
    traces: list[Trace] = []
    small = len(drawn) > _CROWD
    groups = drawn.groupby(["run", "kind", "part", "nodes", "placement"], observed=True, sort=False)
    for (label, kind, part, nodes, placement), rows in groups:
        run = number[str(label)]
        about = meta(run, str(kind), **{"pass": str(part), "nodes": str(nodes)})
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{words.escaped(kind)} {placement}",
                "x": rows["macs_per_byte"].tolist(),
                "y": rows["flops_per_rank"].tolist(),
                "marker": marker(look(str(kind), kinds), str(placement), small=small),
                "hovertext": [_hover(row, letters[run]) for row in row_tuples(rows)],
                "hoverinfo": "text",
                "meta": about,
            }
        )
        for mark in ("noisy", "throttled"):
            marked = rows[rows[mark]]
            if len(marked):
                traces.append(around(mark, *_places(marked), about, small=small))
        if letters[run] and not small:
            traces.append(_letters(rows, letters[run], _SIDES[run % len(_SIDES)], about))
    return traces


def _places(rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    return rows["macs_per_byte"].tolist(), rows["flops_per_rank"].tolist()


def _letters(rows: pd.DataFrame, letter: str, side: str, about: dict[str, Any]) -> Trace:
    """The run's letter at each of its points."""
    x, y = _places(rows)
    return {
        "type": "scatter",
        "mode": "text",
        "x": x,
        "y": y,
        "text": [f"{letter} " if side.endswith("left") else f" {letter}"] * len(rows),
        "textposition": side,
        "textfont": {"size": 10, "color": palette.QUIET},
        "hoverinfo": "skip",
        "meta": about,
    }


def _hover(row: Any, letter: str) -> str:
    return words.lines(
        f"{row.layer}, {words.pass_label(row.part)}, {describe.plural(row.nodes, 'node')}{words.of_run(letter)}",
        f"{cells.percent(row.fraction_of_roofline)} of the roofline, bound by {row.bound}",
        f"{units.rate(row.flops_per_rank, 'FLOP/s')} of one rank, {words.number(row.macs_per_byte)} MACs per byte",
        ", ".join([words.timing(row.median, row.ci_low, row.ci_high, str(row.ci_method)), *words.states(row)]),
    )


def _numbers(tables: Tables, drawn: pd.DataFrame) -> Table:
    several, letters = len(tables.runs) > 1, words.letters(tables)
    rows = [
        [
            *([letters[str(row.run)]] if several else []),
            str(row.layer),
            words.pass_label(row.part),
            f"{row.nodes:,}",
            words.number(row.macs_per_byte),
            units.rate(row.flops_per_rank, "FLOP/s"),
            cells.percent(row.fraction_of_roofline),
            str(row.bound),
            ", ".join(words.states(row)),
        ]
        for row in row_tuples(drawn.head(ROWS_SHOWN))
    ]
    head = [*(["run"] if several else []), "layer", "pass", "nodes", "MACs per byte", "rate of a rank"]
    head += ["of the roofline", "bound by", "marks"]
    right = frozenset(range(len(head) - 6, len(head) - 2))
    rest = f"{len(drawn) - ROWS_SHOWN:,} more are in records.csv." if len(drawn) > ROWS_SHOWN else ""
    return Table(head, rows, right, rest)
