"""What the page is made of: sections, their charts as plain dictionaries, keys, choices, and tables of the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from layerbench.report.axes import apart, round_values
from layerbench.report.marks import Look
from layerbench.report.page import palette

Trace: TypeAlias = dict[str, Any]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

ROWS_SHOWN = 400
"""Rows of a table of numbers; the CSV files have all."""

SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"}
"""A chart's symbols by the markers of :mod:`layerbench.report.marks`."""

DASHES = ("solid", "dot", "dashdot", "longdashdot", "longdash")
"""Of what was measured, by run; what is emulated is dashed."""

SIZE = 9
"""Pixels of a marker."""


@dataclass(frozen=True)
class Key:
    """One entry of a key: ``sign`` is a symbol or what the template knows by this name, ``label`` what it means."""

    sign: str
    label: str
    colour: str = palette.INK

    @property
    def paint(self) -> str:
        """The colour as the style sheet has it."""
        return palette.variable(self.colour)


@dataclass(frozen=True)
class Choice:
    """Something to choose: traces whose ``meta`` has another value under ``name`` are not shown."""

    name: str
    label: str
    options: dict[str, str]
    """Words by value; the first one is chosen, and the value ``all`` shows everything."""


@dataclass(frozen=True)
class Table:
    """Numbers beneath a chart, ready to be shown; columns in ``right`` are aligned to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    rest: str = ""
    """Where more are to be had, if these are not all."""


@dataclass(frozen=True)
class Chart:
    """One chart: what a reader who cannot see it is told, and its traces and layout."""

    id: str
    title: str
    summary: str
    data: list[Trace]
    layout: dict[str, Any]
    wide: bool = True
    zoom: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, with charts, and the reasons why there are none or why something is missing in them."""

    id: str
    title: str
    lead: str = ""
    charts: Sequence[Chart] = ()
    keys: Sequence[Key] = ()
    choices: Sequence[Choice] = ()
    notes: Sequence[str] = ()
    numbers: Table | None = None
    absent: Sequence[str] = field(default_factory=list)
    shown: Sequence[tuple[str, Table]] = ()
    """Tables that stand open above the charts, by name."""


def meta(run: int | None = None, kind: str | None = None, **more: str) -> dict[str, Any]:
    """What a trace is of, by which it is shown or not."""
    told: dict[str, Any] = {"run": run, "kind": kind, **more}
    return {name: value for name, value in told.items() if value is not None}


def layout(
    height: int, xaxis: dict[str, Any], yaxis: dict[str, Any], *, right: int = 18, **more: Any
) -> dict[str, Any]:
    """A layout with the page's fonts and colours.

    ``height`` and ``right``, the margin there, are in pixels; the width is the page's affair.
    """
    return {
        "height": height,
        "autosize": True,
        "font": {"family": FONT, "size": 13, "color": palette.INK},
        "paper_bgcolor": palette.PAPER,
        "plot_bgcolor": palette.PAPER,
        "margin": {"l": 56, "r": right, "t": 14, "b": 48},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "hoverlabel": {
            "bgcolor": palette.PAPER,
            "bordercolor": palette.FAINT,
            "font": {"family": FONT, "size": 13, "color": palette.INK},
            "align": "left",
        },
        "xaxis": xaxis,
        "yaxis": yaxis,
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis in the page's colours that cannot be moved."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": 13, "color": palette.QUIET}},
        "gridcolor": palette.GRID,
        "linecolor": palette.RULE,
        "tickcolor": palette.RULE,
        "zeroline": False,
        "showline": True,
        "automargin": True,
        "fixedrange": True,
        "ticks": "",
        **more,
    }


def node_axis(counts: Sequence[int], beside: float = 0.0) -> dict[str, Any]:
    """A log axis with node counts on it, each with its number where there is room.

    ``beside`` is further room to the right, in powers of ten.
    """
    counts = sorted(set(counts))
    room = max(1.12, (counts[-1] / counts[0]) ** 0.06) if len(counts) > 1 else 2.0
    shown = apart(counts, 0.06)
    return axis(
        "nodes",
        type="log",
        range=[math.log10(counts[0] / room), math.log10(counts[-1] * room) + beside],
        tickvals=shown,
        ticktext=[f"{count:,}" for count in shown],
        tickangle=0,
    )


def log_axis(
    title: str, low: float, high: float, text: Any, base: int = 10, pad: float = 1.5, most: int = 9
) -> dict[str, Any]:
    """A log axis from ``low`` to ``high`` and a bit beyond, with so many round numbers at most, told by ``text``."""
    low, high = low / pad, high * pad
    values = round_values(low, high, base, most)
    return axis(
        title,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=values,
        ticktext=[text(value) for value in values],
        tickangle=0,
    )


def marker(look: Look, placement: str, *, small: bool = False) -> dict[str, Any]:
    """How a point is drawn: hollow where it is emulated."""
    return {
        "symbol": SYMBOLS[look.marker],
        "size": 6 if small else SIZE,
        "color": palette.PAPER if placement == "emulated" else look.colour,
        "line": {"color": look.colour, "width": 1 if small else 2},
    }


def around(mark: str, x: Sequence[float], y: Sequence[float], about: dict[str, Any], *, small: bool = False) -> Trace:
    """A ring around noisy points, a square around throttled ones; a ring fits into it."""
    ring = {"noisy": ("circle-open", 18, palette.FAINT), "throttled": ("square-open", 22, palette.INK)}
    symbol, size, colour = ring[mark]
    size, width = (size - 7, 0.8) if small else (size, 1.5)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": mark,
        "x": list(x),
        "y": list(y),
        "marker": {"symbol": symbol, "size": size, "color": colour, "line": {"color": colour, "width": width}},
        "hoverinfo": "skip",
        "cliponaxis": False,
        "meta": about,
    }


def crosses(
    x: Sequence[float], y: Sequence[float], texts: Sequence[str], colour: str, about: dict[str, Any], **more: Any
) -> Trace:
    """A cross at each place where there is nothing to draw, so that it is not taken for an oversight."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "incomplete",
        "x": list(x),
        "y": list(y),
        "marker": {"symbol": "x-thin", "size": SIZE, "color": colour, "line": {"color": colour, "width": 2.5}},
        "hovertext": list(texts),
        "hoverinfo": "text",
        "cliponaxis": False,
        "meta": about,
        **more,
    }
