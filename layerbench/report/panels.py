"""The four panels of the figure, each drawn from one frame onto one pair of axes.

What is measured is filled and joined by solid lines, what is emulated hollow, dashed or hatched. Types differ by marker
as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report.axes import log_axis, node_axis
from layerbench.report.tables import Tables, row_tuples

if TYPE_CHECKING:
    import pandas as pd

INK = "#333333"
FAINT = "#999999"
GRID = "#dddddd"

MARKER_SIZE = 7.0
MANY_LAYERS = 20
"""More layers than this are drawn as one bar for each type."""

MANY_BARS = 16
"""More bars than this carry no numbers."""


class Look(NamedTuple):
    """How a layer type is drawn."""

    colour: str
    marker: str


# Okabe and Ito's palette, which readers with any colour vision tell apart; these three also differ in grey.
_LOOKS = {"conv": Look("#0072B2", "o"), "fc": Look("#E69F00", "s"), "lstm": Look("#009E73", "^")}
_OTHERS = (Look("#CC79A7", "D"), Look("#D55E00", "v"), Look("#56B4E9", "P"))


def look(kind: str, kinds: Sequence[str]) -> Look:
    """How a type is drawn among those of a run."""
    others = [other for other in kinds if other not in _LOOKS]
    return _LOOKS[kind] if kind in _LOOKS else _OTHERS[others.index(kind) % len(_OTHERS)]


@dataclass(frozen=True)
class Curve:
    """Which columns a panel draws against node counts."""

    gid: str
    value: str
    low: str
    high: str


TIME = Curve("time", "seconds", "ci_low", "ci_high")
SPEEDUP = Curve("speedup", "speedup", "speedup_low", "speedup_high")


def running_time(axes: Any, tables: Tables) -> None:
    """Running time of a step against nodes, log-log."""
    types = tables.layer_types
    unit, scale = _unit_of(types["seconds"])
    node_axis(axes, types["nodes"])
    log_axis(axes.yaxis, _span(types, TIME, scale))
    _curves(axes, types, TIME, scale)
    if types["nodes"].nunique() == 1:
        _values(axes, types)
    axes.set_title("Running time of a step")
    axes.set_ylabel(f"running time ({unit})")


def speed_up(axes: Any, tables: Tables) -> None:
    """Speed-up against nodes, log-log, with the ideal line."""
    types = tables.layer_types
    base = tables.base_nodes or 1
    weak = tables.manifest.options.scaling == "weak"
    node_axis(axes, types["nodes"])
    low, high = _span(types, SPEEDUP)
    ideal = types.loc[types["nodes"] >= base].drop_duplicates("nodes")
    log_axis(axes.yaxis, (min(low, 1.0), max(high, ideal["ideal"].max())), base=2, pad=1.3)
    (line,) = axes.plot(ideal["nodes"], ideal["ideal"], linestyle=":", color=INK, linewidth=1.2, zorder=1)
    line.set_gid("speedup:ideal")
    middle = math.sqrt(ideal["nodes"].iloc[0] * ideal["nodes"].iloc[-1])
    axes.annotate("ideal", (middle, middle / base), xytext=(-8, 8), textcoords="offset points", ha="right")
    _curves(axes, types, SPEEDUP)
    axes.set_title(("Scaled speed-up" if weak else "Speed-up") + f" over {base} node" + ("s" if base != 1 else ""))
    axes.set_ylabel("scaled speed-up" if weak else "speed-up")


def communication(axes: Any, tables: Tables) -> None:
    """Share of the all-reduce in a step: bars, grouped by node count."""
    types = tables.layer_types
    counts, kinds = sorted(types["nodes"].unique()), list(types["kind"].unique())
    width = min(0.8 / len(kinds), 0.3)
    numbered = len(types) <= MANY_BARS
    top = max(types["communication_share"].max() * 100, 1.0)
    for index, kind in enumerate(kinds):
        colour = look(kind, kinds).colour
        for row in row_tuples(types[types["kind"] == kind]):
            x = counts.index(row.nodes) + (index - (len(kinds) - 1) / 2) * width
            if math.isnan(row.communication_share):
                _cross(axes, x, colour, f"share:{kind}:missing")
                continue
            share = 100 * row.communication_share
            (bar,) = axes.bar(x, share, width * 0.9, edgecolor=colour, **_fill(colour, row.placement))
            bar.set_gid(f"share:{kind}:{row.nodes}")
            if numbered:
                axes.annotate(
                    _percent(share),
                    (x, share),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize="small",
                )
    axes.set_ylim(0, top * 1.12)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_title("Communication in a step")
    axes.set_xlabel("nodes")
    axes.set_ylabel("share of the running time (%)")


def _fill(colour: str, placement: str) -> dict[str, Any]:
    if placement == "emulated":
        return {"facecolor": "white", "hatch": "////", "linewidth": 1.2}
    return {"facecolor": colour, "linewidth": 1.2}


def _percent(share: float) -> str:
    return "0" if share == 0 else "<1" if share < 1 else f"{share:.0f}"


class Bar(NamedTuple):
    """One row of the last panel: its layer or type, MACs per byte, what to add to the number, and the layers' range."""

    label: str
    kind: str
    value: float
    note: str
    low: float
    high: float


_READ_ONCE, _RE_READ = "weights read once", "weights re-read each step"


def intensity(axes: Any, tables: Tables) -> None:
    """MACs per byte: horizontal bars, a layer to each, or a type to each where there are many layers."""
    bars = intensity_bars(tables.intensity)
    kinds = list(tables.layer_types["kind"].unique())
    left = min(1.0, 10.0 ** math.floor(math.log10(min(bar.low for bar in bars)) - 0.2))
    # A number, and its note, must end within the panel: the axis goes on beyond the bar by their share of the width.
    right = max(left * (bar.high / left) ** (1 / (0.55 if bar.note else 0.85)) for bar in bars)
    log_axis(axes.xaxis, (left, right), pad=1.0)
    for y, bar in enumerate(bars):
        (patch,) = axes.barh(y, bar.value, 0.7, color=look(bar.kind, kinds).colour)
        patch.set_gid(f"intensity:{bar.label}" + (":re-read" if bar.note == _RE_READ else ""))
        if bar.low < bar.high:
            axes.plot([bar.low, bar.high], [y, y], color=INK, linewidth=1.2, marker="|", markersize=7)
        axes.annotate(
            f"{bar.value:.3g}" + (f"  {bar.note}" if bar.note else ""),
            (bar.high, y),
            xytext=(4, -0.5),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    rows: dict[str, list[int]] = {}
    for y, bar in enumerate(bars):
        rows.setdefault(bar.label, []).append(y)
    axes.set_yticks([sum(ys) / len(ys) for ys in rows.values()], [_shortened(label) for label in rows])
    if len(bars) > 12:
        axes.tick_params(axis="y", labelsize="small")
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    many = len(tables.intensity) > MANY_LAYERS
    axes.set_title(f"Arithmetic intensity of {len(tables.intensity):,} layers" if many else "Arithmetic intensity")
    batch = int(tables.intensity["batch"].iloc[0])
    axes.set_xlabel(f"MACs per byte, one pass over batch {batch:,}" + (" (line: from least to most)" if many else ""))


def intensity_bars(frame: pd.DataFrame) -> list[Bar]:
    """The rows of the intensity panel, both conventions for layers with time steps."""
    if len(frame) <= MANY_LAYERS:
        return [
            Bar(row.layer, row.kind, value, note, value, value)
            for row in row_tuples(frame)
            for value, note in _conventions(row.macs_per_byte, row.macs_per_byte_weights_reread)
        ]
    bars = []
    for kind, layers in frame.groupby("kind", sort=False):
        each = layers[["macs_per_byte", "macs_per_byte_weights_reread"]]
        macs, steps = layers["macs"].sum(), each["macs_per_byte_weights_reread"].notna().all()
        reread = macs / layers["bytes_weights_reread"].sum() if steps else math.nan
        for column, (value, note) in zip(each, _conventions(macs / layers["bytes"].sum(), reread), strict=False):
            bars.append(Bar(str(kind), str(kind), float(value), note, each[column].min(), each[column].max()))
    return bars


def _conventions(once: float, reread: float) -> list[tuple[float, str]]:
    return [(once, "")] if math.isnan(reread) else [(once, _READ_ONCE), (reread, _RE_READ)]


def _shortened(label: str, most: int = 30) -> str:
    return label if len(label) <= most else f"{label[: most - 12]}…{label[-11:]}"


def _curves(axes: Any, types: pd.DataFrame, curve: Curve, scale: float = 1.0) -> None:
    """One type after another: its lines, its intervals, its markers, and a cross where it is not complete."""
    kinds = list(types["kind"].unique())
    for kind in kinds:
        rows = types[types["kind"] == kind].sort_values("nodes")
        style = look(kind, kinds)
        known = rows[curve.value].notna()
        for placement, linestyle in (("measured", "-"), ("emulated", "--")):
            x, y = _segments(rows, curve.value, placement)
            if x:
                (line,) = axes.plot(x, [v / scale for v in y], linestyle=linestyle, color=style.colour, zorder=2)
                line.set_gid(f"{curve.gid}:{kind}:{placement}:line")
            points = rows[known & (rows["placement"] == placement)]
            if len(points):
                _points(axes, points, curve, style, scale, f"{curve.gid}:{kind}:{placement}")
        for row in row_tuples(rows[~known]):
            offset = (kinds.index(kind) - (len(kinds) - 1) / 2) * 0.05
            _cross(axes, row.nodes * 2**offset, style.colour, f"{curve.gid}:{kind}:missing")


def _cross(axes: Any, x: float, colour: str, gid: str) -> None:
    """A cross at the foot of a panel where there is nothing to draw, so that it is not taken for an oversight."""
    axes.plot(x, 0.03, "x", color=colour, markeredgewidth=2, transform=axes.get_xaxis_transform(), gid=gid)


def _points(axes: Any, points: pd.DataFrame, curve: Curve, style: Look, scale: float, gid: str) -> None:
    nodes, values = points["nodes"], points[curve.value] / scale
    beyond = [values - points[curve.low] / scale, points[curve.high] / scale - values]
    bars = axes.errorbar(
        nodes, values, yerr=beyond, fmt="none", ecolor=style.colour, elinewidth=1.2, capsize=2.5, zorder=3
    )
    bars[2][0].set_gid(f"{gid}:interval")
    noisy = points[points["noisy"]]
    if curve is TIME and len(noisy):
        (rings,) = axes.plot(noisy["nodes"], noisy[curve.value] / scale, **RING, linestyle="none", zorder=2)
        rings.set_gid(f"{gid}:noisy")
    filled = gid.endswith(":measured")
    (markers,) = axes.plot(
        nodes,
        values,
        marker=style.marker,
        markersize=MARKER_SIZE,
        markerfacecolor=style.colour if filled else "white",
        markeredgecolor=style.colour,
        markeredgewidth=1.6,
        linestyle="none",
        zorder=4,
    )
    markers.set_gid(gid)


def _values(axes: Any, types: pd.DataFrame) -> None:
    """The running times in words: where there is one node count, a column of points says little."""
    for row in row_tuples(types[types["seconds"].notna()]):
        where = (row.nodes, row.seconds / _unit_of(types["seconds"])[1])
        axes.annotate(units.seconds(row.seconds), where, xytext=(14, 0), textcoords="offset points", va="center")


RING: dict[str, Any] = {
    "marker": "o",
    "markersize": MARKER_SIZE + 7,
    "markerfacecolor": "none",
    "markeredgecolor": FAINT,
}
"""Drawn around a noisy point."""


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


def _unit_of(seconds: pd.Series[float]) -> tuple[str, float]:
    """The unit in which the middle of the panel is a number a person reads easily, and its seconds."""
    middle = math.sqrt(seconds.min() * seconds.max())
    unit = units.seconds(max(middle, 1e-9)).split()[1]
    return unit, {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]


def _span(types: pd.DataFrame, curve: Curve, scale: float = 1.0) -> tuple[float, float]:
    """Least and greatest of what a curve shows, its intervals with it."""
    columns = types[[curve.value, curve.low, curve.high]]
    positive = columns[columns > 0]
    return float(positive.min().min()) / scale, float(positive.max().max()) / scale
