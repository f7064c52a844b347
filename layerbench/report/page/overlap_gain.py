"""What overlap gained by the ratio of transfer to computation, and how much of what it could gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from layerbench.overlap_records import Row
from layerbench.report import describe, overlap_cells
from layerbench.report.marks import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Look
from layerbench.report.overlap_claim import GAIN
from layerbench.report.overlap_rows import Measured, beside_the_curve
from layerbench.report.page import palette, words
from layerbench.report.page.overlap_lines import numbers, told
from layerbench.report.page.section import (
    SYMBOLS,
    Chart,
    Key,
    Section,
    Trace,
    around,
    axis,
    crosses,
    layout,
    log_axis,
    marker,
    meta,
)
from layerbench.report.twins.overlap_gain import AXIS_SPAN, ETA_SPAN, REACHABLE

_LOOKS = (
    Look(BLUE, "o"),
    Look(VERMILION, "D"),
    Look(GREEN, "^"),
    Look(PURPLE, "s"),
    Look(ORANGE, "v"),
    Look(SKY, "P"),
)

_CURVE_POINTS = 121


class _Series(NamedTuple):
    """The points of one run at one node count."""

    run: int
    label: str
    rows: list[Row]
    look: Look


def section(measured: Sequence[Measured]) -> Section | None:
    """None where no ratio was tried."""
    found = _series(measured)
    if not found:
        return None
    rows = [row for one in found for row in one.rows]
    charts = [_speedups(found, rows)]
    if any(row.eta is not None for row in rows):
        charts.append(_etas(found, rows))
    return Section(
        "overlap-gain",
        overlap_cells.SWEEP_TITLE,
        overlap_cells.SWEEP_MEANING,
        charts,
        _keys(found, rows),
        (),
        told(measured, "ratio sweep"),
        numbers(measured, "ratio sweep"),
    )


def _series(measured: Sequence[Measured]) -> list[_Series]:
    found: list[_Series] = []
    for one in measured:
        for nodes in sorted({row.nodes for row in one.sweep}):
            rows = [row for row in one.sweep if row.nodes == nodes]
            label = f"{describe.plural(nodes, 'node')}{words.of_run(one.letter)}"
            found.append(_Series(one.run, label, rows, _LOOKS[len(found) % len(_LOOKS)]))
    return found


def _keys(found: Sequence[_Series], rows: Sequence[Row]) -> list[Key]:
    keys = [Key(SYMBOLS[one.look.marker], one.label, one.look.colour) for one in found]
    if any(row.placement == "emulated" for row in rows):
        keys += [Key("point", "measured"), Key("hollow point", "emulated")]
    keys.append(Key("line", "attainable by two stages"))
    keys += [Key("step", "attainable here")] if any(map(beside_the_curve, rows)) else []
    keys += [Key("dot", f"{GAIN} times"), Key("interval", "95 % interval")]
    keys.append(Key("swatch", f"{GAIN} can be reached", palette.BAND))
    keys += [Key("noisy", "noisy")] if any(row.noisy for row in rows) else []
    return keys + ([Key("incomplete", "results differ")] if any(row.identical is False for row in rows) else [])


def _speedups(found: Sequence[_Series], rows: Sequence[Row]) -> Chart:
    low, high = _ends(rows)
    x = sorted({1.0, *(low * (high / low) ** (index / (_CURVE_POINTS - 1)) for index in range(_CURVE_POINTS))})
    curve = {
        "type": "scatter",
        "mode": "lines",
        "name": "attainable",
        "x": x,
        "y": [1 + min(r, 1 / r) for r in x],
        "line": {"color": palette.FAINT, "width": 1.5, "simplify": False},
        "hoverinfo": "skip",
    }
    own = [row for row in rows if beside_the_curve(row)]
    here: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "attainable here",
        "x": [_known(row.ratio) for row in own],
        "y": [row.attainable for row in own],
        "marker": {"symbol": "line-ew", "size": 14, "line": {"width": 2, "color": palette.INK}},
        "hovertext": [f"attainable {overlap_cells.attainable(row)}" for row in own],
        "hoverinfo": "text",
    }
    best = max(rows, key=lambda row: row.speedup)
    return Chart(
        "overlap-gain-chart",
        "Speed-up",
        f"Speed-up by overlap against the ratio of transfer to computation, with the curve of what is attainable: at "
        f"most {overlap_cells.times(best.speedup)} at a ratio of {overlap_cells.ratio(best)}.",
        [curve, *([here] if own else []), *_points(found, "speed-up", lambda row: row.speedup)],
        layout(340, _axis(low, high), axis(""), shapes=[_band(), _at(GAIN)]),
        wide=False,
    )


def _etas(found: Sequence[_Series], rows: Sequence[Row]) -> Chart:
    known = [row.eta for row in rows if row.eta is not None]
    low, high = max(ETA_SPAN[0], min(*known, 0.0)), min(ETA_SPAN[1], max(*known, 1.0))
    room = 0.08 * (high - low)
    return Chart(
        "overlap-eta-chart",
        "η, the part of what can be gained that was",
        f"η against the ratio of transfer to computation: from {min(known):.2f} to {max(known):.2f}.",
        _points(found, "η", lambda row: None if row.eta is None else min(max(row.eta, low), high)),
        layout(340, _axis(*_ends(rows)), axis("", range=[low - room, high + room]), shapes=[_band(), _at(1.0)]),
        wide=False,
    )


def _ends(rows: Sequence[Row]) -> tuple[float, float]:
    """Of the axis."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    low, high = min(*ratios, AXIS_SPAN[0]), max(*ratios, AXIS_SPAN[1])
    pad = max(1.25, (high / low) ** 0.03)
    return low / pad, high * pad


def _axis(low: float, high: float) -> dict[str, Any]:
    return log_axis("ratio of transfer to computation", low, high, words.number, pad=1.0, most=7)


def _band() -> dict[str, Any]:
    """Where the gain can be reached. A shape across a log axis is placed by its values."""
    low, high = REACHABLE
    place = {"type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1, "layer": "below"}
    return {**place, "fillcolor": palette.BAND, "line": {"width": 0}}


def _at(y: float) -> dict[str, Any]:
    line = {"color": palette.INK, "width": 1.2, "dash": "dot"}
    return {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _points(found: Sequence[_Series], what: str, value: Callable[[Row], float | None]) -> list[Trace]:
    return [trace for one in found for trace in _of_series(one, what, value)]


def _of_series(one: _Series, what: str, value: Callable[[Row], float | None]) -> Iterator[Trace]:
    about = meta(one.run)
    for placement in ("measured", "emulated"):
        rows = [row for row in one.rows if row.placement == placement and value(row) is not None]
        if not rows:
            continue
        x, y = [_known(row.ratio) for row in rows], [_known(value(row)) for row in rows]
        trace: Trace = {
            "type": "scatter",
            "mode": "markers",
            "name": f"{one.label} {placement}",
            "x": x,
            "y": y,
            "marker": marker(one.look, placement) | _beyond(one, rows, y, what),
            "hovertext": [_under_pointer(one, row) for row in rows],
            "hoverinfo": "text",
            "meta": about,
        }
        if what == "speed-up":
            trace["error_y"] = {
                "type": "data",
                "array": [(row.speedup_high or row.speedup) - row.speedup for row in rows],
                "arrayminus": [row.speedup - (row.speedup_low or row.speedup) for row in rows],
                "color": one.look.colour,
                "thickness": 1.5,
                "width": 4,
            }
        yield trace
        noisy = [index for index, row in enumerate(rows) if row.noisy]
        if noisy:
            yield around("noisy", [x[index] for index in noisy], [y[index] for index in noisy], about)
        other = [index for index, row in enumerate(rows) if row.identical is False]
        if other:
            texts = [_under_pointer(one, rows[index]) for index in other]
            struck = crosses([x[i] for i in other], [y[i] for i in other], texts, palette.INK, about)
            yield struck | {"name": "results differ"}


def _beyond(one: _Series, rows: Sequence[Row], y: Sequence[float], what: str) -> dict[str, Any]:
    """Of η beyond its axis, a triangle that points there."""
    if what == "speed-up":
        return {}
    usual = SYMBOLS[one.look.marker]
    pairs = [(_known(row.eta), at) for row, at in zip(rows, y, strict=True)]
    return {"symbol": ["triangle-up" if eta > at else "triangle-down" if eta < at else usual for eta, at in pairs]}


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _under_pointer(one: _Series, row: Row) -> str:
    states = [row.placement, *(mark for mark in ("noisy", "oversubscribed") if getattr(row, mark))]
    return words.lines(
        f"{one.label}, ratio {overlap_cells.ratio(row)}",
        f"speed-up {overlap_cells.speedup(row)} of {overlap_cells.attainable(row)}, η {overlap_cells.eta(row)}",
        f"implicit {overlap_cells.time(row.implicit_seconds, row.implicit_low, row.implicit_high)}",
        f"explicit {overlap_cells.time(row.explicit_seconds, row.explicit_low, row.explicit_high)}",
        ", ".join([*states, *(["results differ"] if row.identical is False else [])]),
    )
