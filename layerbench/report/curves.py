"""Values against node counts with their intervals: what several panels draw in the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report.columns import row_tuples
from layerbench.report.marks import Look, Pen, face, ring, square

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Curve:
    """Which columns a panel draws against node counts."""

    gid: str
    value: str
    low: str
    high: str


TIME = Curve("time", "seconds", "ci_low", "ci_high")
SPEEDUP = Curve("speedup", "speedup", "speedup_low", "speedup_high")
EFFICIENCY = Curve("efficiency", "efficiency", "efficiency_low", "efficiency_high")


def series(
    axes: Any,
    rows: pd.DataFrame,
    curve: Curve,
    style: Look,
    gid: str,
    *,
    pen: Pen,
    scale: float = 1.0,
    shift: float = 0.0,
) -> None:
    """Draw a type of a run: its lines, its intervals, its markers, and the marks around them.

    Parameters
    ----------
    rows
        Of :attr:`layerbench.report.tables.Tables.layer_types`, those of the type.
    gid
        Name of what is drawn, to which each artist adds its own.
    scale
        By which values are divided.
    shift
        Points to the right, so that one series does not hide another.
    """
    rows = rows.sort_values("nodes")
    moved = _shifted(axes, shift)
    known = rows[curve.value].notna()
    for placement, dash in (("measured", style.dash), ("emulated", "--")):
        x, y = _segments(rows, curve.value, placement)
        if x:
            (line,) = axes.plot(
                x,
                [v / scale for v in y],
                linestyle=dash,
                color=style.colour,
                linewidth=pen.line,
                zorder=2,
                transform=moved,
            )
            line.set_gid(f"{gid}:{placement}:line")
        points = rows[known & (rows["placement"] == placement)]
        if len(points):
            _points(axes, points, curve, style, scale, f"{gid}:{placement}", pen, moved)
            for mark, drawn in (("noisy", ring), ("throttled", square)):
                marked = points[points[mark]]
                if len(marked):
                    values = marked[curve.value] / scale
                    axes.plot(
                        marked["nodes"],
                        values,
                        **drawn(pen),
                        zorder=2,
                        transform=moved,
                        gid=f"{gid}:{placement}:{mark}",
                    )


def incomplete(
    axes: Any, rows: pd.DataFrame, curve: Curve, style: Look, gid: str, *, pen: Pen, offset: float = 0.0
) -> None:
    """A cross for each count at which a type has no value; ``offset`` in octaves sets those of several apart."""
    for row in row_tuples(rows[rows[curve.value].isna()]):
        cross(axes, row.nodes * 2**offset, style.colour, f"{gid}:missing", pen)


def cross(axes: Any, x: float, colour: str, gid: str, pen: Pen) -> None:
    """A cross at the foot of a panel where there is nothing to draw, so that it is not taken for an oversight."""
    axes.plot(
        x,
        0.03,
        "x",
        color=colour,
        markeredgewidth=pen.edge * 1.25,
        markersize=pen.marker * 6 / 7,
        transform=axes.get_xaxis_transform(),
        gid=gid,
        clip_on=False,
    )


def _shifted(axes: Any, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _points(
    axes: Any, points: pd.DataFrame, curve: Curve, style: Look, scale: float, gid: str, pen: Pen, moved: Any
) -> None:
    nodes, values = points["nodes"], points[curve.value] / scale
    # A quotient by what may be no time at all has no upper end.
    high = points[curve.high].where(points[curve.high] < math.inf)
    beyond = [values - points[curve.low] / scale, high / scale - values]
    bars = axes.errorbar(
        nodes,
        values,
        yerr=beyond,
        fmt="none",
        ecolor=style.colour,
        elinewidth=pen.bar,
        capsize=pen.cap,
        zorder=3,
        transform=moved,
    )
    bars[2][0].set_gid(f"{gid}:interval")
    axes.plot(
        nodes,
        values,
        marker=style.marker,
        markersize=pen.marker,
        markerfacecolor=face(points["placement"].iloc[0], style.colour),
        markeredgecolor=style.colour,
        markeredgewidth=pen.edge,
        linestyle="none",
        zorder=4,
        transform=moved,
        gid=gid,
    )


def _segments(rows: pd.DataFrame, value: str, placement: str) -> tuple[list[float], list[float]]:
    """Lines between neighbouring counts, NaN between them; emulated if either end is. None crosses a missing count."""
    x: list[float] = []
    y: list[float] = []
    points = list(zip(rows["nodes"], rows[value], rows["placement"], strict=True))
    for (x0, y0, p0), (x1, y1, p1) in pairwise(points):
        of_pair = "emulated" if "emulated" in (p0, p1) else "measured"
        if of_pair == placement and not math.isnan(y0 + y1):
            x += [x0, x1, math.nan]
            y += [y0, y1, math.nan]
    return x[:-1], y[:-1]


def unit_of(seconds: pd.Series[float]) -> tuple[str, float]:
    """The unit in which the middle of the panel is a number a person reads easily, and its seconds.

    Only what is positive counts, for nothing else stands on a log axis; where nothing is, the unit is the second.
    """
    positive = seconds[seconds > 0]
    if positive.empty:
        return "s", 1.0
    middle = math.sqrt(positive.min()) * math.sqrt(positive.max())
    unit = units.seconds(max(middle, 1e-9)).split()[1]
    return unit, {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]


def span(types: pd.DataFrame, curve: Curve, scale: float = 1.0) -> tuple[float, float]:
    """Least and greatest of what a curve shows, its intervals with it as far as they end."""
    columns = types[[curve.value, curve.low, curve.high]]
    positive = columns[(columns > 0) & (columns < math.inf)]
    return float(positive.min().min()) / scale, float(positive.max().max()) / scale
