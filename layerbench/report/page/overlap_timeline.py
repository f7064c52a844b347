"""The timeline of a training loop: lanes over time, implicit above explicit, to be looked at closely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from layerbench import units
from layerbench.overlap_records import MODES, Mode, StepTimeline, TimedSpan
from layerbench.report import describe
from layerbench.report.overlap_lanes import (
    ALONE,
    KINDS,
    Kind,
    Lane,
    Pair,
    asks,
    cut,
    in_lanes,
    is_pale,
    kind_of,
    lanes,
    pairs,
    side_by_side,
    that_fit,
    window,
)
from layerbench.report.overlap_rows import Measured
from layerbench.report.page import palette, words
from layerbench.report.page.section import FONT, Chart, Choice, Key, Section, Trace, axis, layout, meta

SPANS = 12_000
"""Of all timelines that the page holds: more would make a file that nobody sends."""

OF_ONE = 3_000
"""Spans of a timeline that is held whole; of a longer one some steps are."""

_MOST_LANES = 24
_LANE = 22
"""Pixels."""

_BETWEEN = 34
"""Pixels between the two modes."""

_THICK = 0.84
"""Of a lane's height, that bars take up."""

_HAIR = 0.3
"""Pixels of a bar's outline, without which bars are widened and hide their neighbours."""


class _Laid(NamedTuple):
    """A timeline as it is held: its lanes, in seconds from its beginning, and when each step is over."""

    mode: Mode
    lanes: list[Lane]
    ends: list[float]


class _Held(NamedTuple):
    """The timelines of a rank at a node count."""

    run: int
    name: str
    modes: list[_Laid]


def section(measured: Sequence[Measured]) -> Section | None:
    """The chart of all timelines, of which one is shown at a time; None where there are none."""
    found = [(one, pair) for one in measured for pair in pairs(one.overlap)]
    held = _held(found)
    if not held:
        return None
    every = [lane for one in held for laid in one.modes for lane in laid.lanes]
    there = {lane.name for lane in every}
    names = [name for name in lanes([line for _, pair in found for line in pair.timelines]) if name in there]
    modes = [mode for mode in MODES if any(laid.mode == mode for one in held for laid in one.modes)]
    axes = dict(zip(modes, ("y", "y2"), strict=False))
    chart = Chart(
        "overlap-timeline-chart",
        "",
        "Stages, computation and exchanges over time, implicit above explicit, of "
        f"{describe.listed([one.name for one in held], shown=4)}.",
        [
            trace
            for index, one in enumerate(held)
            for laid in one.modes
            for trace in _traces(laid, names, {"meta": meta(one.run, timeline=str(index)), "yaxis": axes[laid.mode]})
        ],
        _layout(names, list(axes)),
        zoom=True,
    )
    alone = any(pair.placement == "emulated" for _, pair in found)
    left_out = len(found) - len(held)
    notes = [f"Of {left_out:,} more ranks the timelines are in overlap.json."] if left_out else []
    return Section(
        "overlap-timeline",
        "Timeline of a few steps",
        "A row for each worker of a stage, the transfer, the computation and the exchanges; gaps are idle. Of all but "
        "computation every other step is paler: in explicit mode stages run ahead." + (f" {ALONE}" if alone else ""),
        [chart],
        _keys(held, every),
        [Choice("timeline", "Timeline", {str(index): one.name for index, one in enumerate(held)})],
        notes,
    )


def _keys(held: Sequence[_Held], every: Sequence[Lane]) -> list[Key]:
    kinds = {kind_of(span) for lane in every for span in lane.spans}
    keys = [Key("swatch", kind.label, kind.colour) for kind in KINDS if kind in kinds]
    if any(laid.ends for one in held for laid in one.modes):
        keys.append(Key("dot", "a step is over, and the next batch asked for"))
    return keys


def _held(found: Sequence[tuple[Measured, Pair]]) -> list[_Held]:
    """The first timelines, as many as there is room for."""
    held: list[_Held] = []
    spans = 0
    for one, pair in found:
        spans += sum(min(OF_ONE, len(timeline.spans)) for timeline in pair.timelines)
        if spans > SPANS:
            break
        order = lanes(pair.timelines)
        name = f"{pair.name}{words.of_run(one.letter)}"
        held.append(_Held(one.run, name, [_laid(timeline, order) for timeline in pair.timelines]))
    return held


def _laid(timeline: StepTimeline, order: Sequence[str]) -> _Laid:
    """A timeline from its beginning; of a long one a few steps."""
    start = min(span.start for span in timeline.spans)
    stop = max(span.stop for span in timeline.spans)
    if len(timeline.spans) > OF_ONE:
        start, stop, _ = window(timeline)
    found = in_lanes(list(cut(timeline, start, stop))[:OF_ONE], order)
    ends = [end - start for end in asks(timeline).values() if start <= end <= stop]
    return _Laid(timeline.mode, that_fit(found, _MOST_LANES), ends)


def _traces(laid: _Laid, names: Sequence[str], shared: dict[str, Any]) -> Iterator[Trace]:
    """Bars of each kind of work, those of every other step by themselves, and lines where a step is over."""
    made: dict[tuple[Kind, bool], Trace] = {}
    for lane in laid.lanes:
        rows = side_by_side(lane.spans)
        height = _THICK / len(rows)
        for place, row in enumerate(rows):
            y = names.index(lane.name) - _THICK / 2 + (place + 0.5) * height
            for span in row:
                kind, pale = kind_of(span), is_pale(span)
                trace = made.setdefault((kind, pale), _bars(laid.mode, kind, pale=pale))
                trace["base"].append(_ms(span.start))
                trace["x"].append(_ms(span.stop - span.start))
                trace["y"].append(round(y, 3))
                trace["width"].append(round(height, 3))
                trace["hovertext"].append(_under_pointer(span))
    yield from (trace | shared for trace in made.values())
    if laid.ends:
        yield {
            "type": "scatter",
            "mode": "lines",
            "name": f"{laid.mode} asks",
            "x": [value for end in laid.ends for value in (_ms(end), _ms(end), None)],
            "y": [value for _ in laid.ends for value in (-0.6, len(names) - 0.4, None)],
            "line": {"color": palette.INK, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        } | shared


def _bars(mode: Mode, kind: Kind, *, pale: bool) -> Trace:
    colour = kind.pale if pale else kind.colour
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"{mode} {kind.label}{' paler' if pale else ''}",
        "base": [],
        "x": [],
        "y": [],
        "width": [],
        "hovertext": [],
        "hoverinfo": "text",
        "textposition": "none",
        "marker": {"color": colour, "line": {"color": colour, "width": _HAIR}},
    }


def _ms(seconds: float) -> float:
    """Milliseconds to six digits: a chart shows no more."""
    return float(f"{seconds / 1e-3:.6g}")


def _under_pointer(span: TimedSpan) -> str:
    step = f", step {span.step}" if span.step >= 0 else ""
    seconds = max(0.0, span.stop - span.start)
    when = f"from {_ms(span.start):,g} to {_ms(span.stop):,g} ms" if span.stop > span.start else ""
    return words.lines(span.name or kind_of(span).label, f"{span.lane}{step}", units.seconds(seconds), when)


def _layout(names: Sequence[str], modes: Sequence[Mode]) -> dict[str, Any]:
    panel = _LANE * len(names) + 8
    inner = len(modes) * panel + (len(modes) - 1) * _BETWEEN
    tops = [1 - place * (panel + _BETWEEN) / inner for place in range(len(modes))]
    rows = {
        "tickvals": list(range(len(names))),
        "ticktext": [words.shortened(name, 24) for name in names],
        "range": [len(names) - 0.4, -0.6],
        "showgrid": False,
    }
    upwards = [axis("", **rows, domain=[max(0.0, top - panel / inner), top]) for top in tops]
    # Fitted to what is chosen: a step of one rank may take a hundred times as long as that of another.
    across = axis("time (ms)", fixedrange=False, tickangle=0, tickformat=",~r", showgrid=False, rangemode="tozero")
    across["anchor"] = "y" if len(modes) == 1 else "y2"
    made = layout(
        inner + 84,
        across,
        upwards[0],
        barmode="overlay",
        annotations=[_heading(mode, top) for mode, top in zip(modes, tops, strict=True)],
    )
    made |= {"yaxis2": upwards[1]} if len(modes) > 1 else {}
    made["margin"] |= {"t": 30}
    return made


def _heading(mode: Mode, y: float) -> dict[str, Any]:
    return {
        "text": f"<b>{mode}</b>",
        "x": 0,
        "xref": "paper",
        "y": y,
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"family": FONT, "size": 13, "color": palette.INK},
    }
