"""The figure of a prediction: a panel for each layer type, with what was measured, the curve and its 90 % band."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from layerbench.predict.measured_points import Point, points
from layerbench.predict.notes import notes
from layerbench.predict.prediction import ALL, Prediction, TypeRow
from layerbench.predict.text import settings, title
from layerbench.report import captions, marks, style
from layerbench.report.axes import log_axis, node_axis
from layerbench.report.marks import FAINT, INK, OVERVIEW

WIDTH = 11.0
DPI = 160

_PANEL = 3.4
"""Inches of a panel's height, its title and axis included."""

_TITLE_CHARACTERS, _HEAD_CHARACTERS, _FOOT_CHARACTERS = 90, 130, 155
_MOST_IN_A_ROW = 3
"""Panels; four stand two by two."""

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BAND = 0.18

_BESIDE = 0.75
"""Inches of a panel's width that are not its axis."""

_AXIS_ROOM = 1.12
"""How much longer the axis of nodes is than the counts on it reach."""

_CHARACTER, _GAP = 0.077, 0.05
"""Inches of a digit on it, and between two numbers."""


def draw(found: Prediction) -> Any:
    """Draw a prediction.

    Returns
    -------
    matplotlib.figure.Figure
        Of each layer type the time of a step against nodes, log-log: what a run measured (hollow where it was
        emulated), the predicted curve, dashed where it is extrapolated, its 90 % band, and where communication takes
        over.
    """
    with style.styled(style.OVERVIEW):
        return _draw(found)


def _draw(found: Prediction) -> Any:
    from matplotlib.figure import Figure

    kinds, measured = found.kinds, points(found.question, found.steps())
    columns = _columns(len(kinds))
    rows = -(-len(kinds) // columns)
    name = textwrap.shorten(title(found), _TITLE_CHARACTERS, placeholder=" …")
    head = textwrap.wrap(" · ".join(settings(found)), _HEAD_CHARACTERS)
    foot = textwrap.wrap(" ".join(notes(found)), _FOOT_CHARACTERS)
    top, bottom = captions.LINE * (len(head) + 2.1), captions.LINE * (len(foot) + 2.4)
    height = top + bottom + _PANEL * rows
    figure: Any = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(
        rect=(0, bottom / height, 1, 1 - (top + bottom) / height), w_pad=0.1, h_pad=0.1, hspace=0.04, wspace=0.03
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, kind in zip(panels.flat, kinds, strict=False):
        _panel(panel, found, kind, [point for point in measured if point.kind == kind])
    for panel in list(panels.flat)[len(kinds) :]:
        panel.remove()

    captions.write(figure, name, head, foot)
    _key(figure, found, measured, bottom / height)
    captions.settle(figure)
    return figure


def _columns(panels: int) -> int:
    return 2 if panels == 4 else min(_MOST_IN_A_ROW, panels)


def rendered(figure: Any, kind: style.Format) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    return style.rendered(figure, kind, style.OVERVIEW, DPI)


def _panel(axes: Any, found: Prediction, kind: str, measured: Sequence[Point]) -> None:
    rows = found.of_kind(kind)
    look = marks.Look(INK, "D") if kind == ALL else marks.look(kind, found.kinds)
    shown = [*(value for row in rows for value in (row.low, row.high)), *(point.seconds for point in measured)]
    unit, scale = _unit(min(shown), max(shown))
    node_axis(axes, [row.nodes for row in rows])
    named = _named([row.nodes for row in rows], WIDTH / _columns(len(found.kinds)) - _BESIDE)
    axes.set_xticks(named, [str(count) for count in named])
    log_axis(axes.yaxis, (min(shown) / scale, max(shown) / scale), pad=1.25, most=7)
    _curve(axes, rows, look.colour, scale, kind)
    for placement in ("measured", "emulated"):
        there = [point for point in measured if point.placement == placement]
        if there:
            _points(axes, there, look, scale, f"{kind}:{placement}")
    _takeover(axes, found, kind, scale)
    layers = sum(kind in (layer.kind, ALL) for layer in found.question.layers)
    axes.set_title(f"{kind} ({layers:,})" if kind == ALL else kind if layers == 1 else f"{kind} ({layers:,} layers)")
    axes.set_ylabel(f"time of a step ({unit})")


def _named(counts: Sequence[int], inches: float) -> list[int]:
    """The counts whose numbers do not touch on an axis so wide, from the largest down; the smallest always."""
    scale = inches / (_AXIS_ROOM * math.log(counts[-1] / counts[0])) if len(counts) > 1 else 0.0
    kept = [counts[-1]]

    def apart(low: int, high: int) -> bool:
        width = _CHARACTER * (len(str(low)) + len(str(high))) / 2
        return scale * math.log(high / low) >= width + _GAP

    for count in reversed(counts[1:-1]):
        if apart(count, kept[-1]) and apart(counts[0], count):
            kept.append(count)
    return sorted({counts[0], *kept})


def _curve(axes: Any, rows: Sequence[TypeRow], colour: str, scale: float, kind: str) -> None:
    nodes = [row.nodes for row in rows]
    values, low, high = (np.array([getattr(row, name) for row in rows]) / scale for name in ("seconds", "low", "high"))
    axes.fill_between(nodes, low, high, color=colour, alpha=_BAND, linewidth=0, zorder=1, gid=f"{kind}:band")
    if len(rows) == 1:
        axes.errorbar(nodes, values, yerr=[values - low, high - values], color=colour, capsize=OVERVIEW.cap, zorder=2)
        axes.plot(nodes, values, "_", color=colour, markersize=14, markeredgewidth=OVERVIEW.line, zorder=2)
        return
    for start, stop, beyond in _stretches(rows):
        part = slice(start, stop + 1)
        dash, name = ("--", "extrapolated") if beyond else ("-", "predicted")
        axes.plot(
            nodes[part], values[part], dash, color=colour, linewidth=OVERVIEW.line, zorder=2, gid=f"{kind}:{name}"
        )


def _stretches(rows: Sequence[TypeRow]) -> Iterator[tuple[int, int, bool]]:
    """First and last place of the lines to draw, and whether they are extrapolated: if the counts they lead to are."""
    start = 0
    for place in range(1, len(rows)):
        if place == len(rows) - 1 or rows[place + 1].extrapolated != rows[place].extrapolated:
            yield start, place, rows[place].extrapolated
            start = place


def _points(axes: Any, there: Sequence[Point], look: marks.Look, scale: float, gid: str) -> None:
    nodes = [point.nodes for point in there]
    values, low, high = (
        np.array([getattr(point, name) for point in there]) / scale for name in ("seconds", "low", "high")
    )
    axes.errorbar(
        nodes,
        values,
        yerr=[values - low, high - values],
        fmt="none",
        ecolor=look.colour,
        elinewidth=OVERVIEW.bar,
        capsize=OVERVIEW.cap,
        zorder=3,
    )
    axes.plot(
        nodes,
        values,
        look.marker,
        markersize=OVERVIEW.marker,
        markerfacecolor=marks.face(there[0].placement, look.colour),
        markeredgecolor=look.colour,
        markeredgewidth=OVERVIEW.edge,
        zorder=4,
        gid=gid,
    )


def _takeover(axes: Any, found: Prediction, kind: str, scale: float) -> None:
    """A line where communication takes half of the step."""
    nodes = next(one.takeover.nodes for one in found.of_types if one.name == kind)
    if nodes is None:
        return
    counts = found.question.nodes
    axes.axvline(nodes, color=FAINT, linewidth=1.0, linestyle=":", zorder=1, gid=f"{kind}:takeover")
    right = nodes**2 <= counts[0] * counts[-1]
    # Where the curve on that side of the line is low, there is room above it.
    beside = [row.seconds for row in found.of_kind(kind) if (row.nodes >= nodes) == right]
    low, high = axes.get_ylim()
    middle = math.exp(sum(math.log(value / scale) for value in beside) / len(beside))
    above = middle < math.sqrt(low * high)
    axes.annotate(
        f"communication bound\nfrom {nodes:.3g} node{'s' if nodes != 1 else ''}",
        (nodes, 0.97 if above else 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top" if above else "bottom",
        fontsize=8.5,
        color=INK,
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
    )


def _unit(low: float, high: float) -> tuple[str, float]:
    """The unit in which the middle of the panel is read most easily."""
    middle = float(np.sqrt(low * high))
    return next((unit for unit in _UNITS if middle >= unit[1]), _UNITS[-1])


def _key(figure: Any, found: Prediction, measured: Sequence[Point], y: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[tuple[Any, str]] = [(Line2D([], [], color=INK), "predicted")]
    if any(row.extrapolated for row in found.types):
        entries.append((Line2D([], [], color=INK, linestyle="--"), "extrapolated"))
    entries.append((Patch(facecolor=INK, alpha=_BAND), "90 % interval"))
    for placement in ("measured", "emulated"):
        if any(point.placement == placement for point in measured):
            face = marks.face(placement, INK)
            entries.append((Line2D([], [], color=INK, marker="o", markerfacecolor=face, linestyle="none"), placement))
    figure.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        loc="upper left",
        bbox_to_anchor=(0.004, y),
        ncols=len(entries),
        frameon=False,
        handlelength=2.6,
        columnspacing=1.8,
        borderaxespad=0.2,
    )
