"""The four panels of the figure, each drawn from one frame onto one pair of axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report import cells
from layerbench.report.axes import log_axis, node_axis
from layerbench.report.columns import row_tuples
from layerbench.report.curves import SPEEDUP, TIME, Curve, cross, incomplete, series, span, unit_of
from layerbench.report.marks import INK, OVERVIEW, look, ring, square
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

MANY_LAYERS = 20
"""More layers than this are drawn as one bar for each type."""

MANY_BARS = 16
"""More bars than this carry no numbers."""

_NUMBER = 5.0
"""Points: from the top of a bar to the middle of the number above it."""


def running_time(axes: Any, tables: Tables) -> None:
    """Running time of a step against nodes, log-log."""
    types = tables.layer_types
    unit, scale = unit_of(types["seconds"])
    node_axis(axes, types["nodes"])
    log_axis(axes.yaxis, span(types, TIME, scale))
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
    low, high = span(types, SPEEDUP)
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
    """Share of communication in a step: bars, grouped by node count."""
    types = tables.layer_types
    counts, kinds = sorted(types["nodes"].unique()), list(types["kind"].unique())
    width = min(0.8 / len(kinds), 0.3)
    numbered = len(types) <= MANY_BARS
    top = max(1.0, 100 * types["communication_share"].max())
    for index, kind in enumerate(kinds):
        colour = look(kind, kinds).colour
        for row in row_tuples(types[types["kind"] == kind]):
            x = counts.index(row.nodes) + (index - (len(kinds) - 1) / 2) * width
            if math.isnan(row.communication_share):
                cross(axes, x, colour, f"share:{kind}:missing", OVERVIEW)
                continue
            share = 100 * row.communication_share
            (bar,) = axes.bar(x, share, width * 0.9, edgecolor=colour, **_fill(colour, row.placement))
            bar.set_gid(f"share:{kind}:{row.nodes}")
            _above(axes, x, share, row, numbered=numbered)
    axes.set_ylim(0, top * 1.12)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_title("Communication in a step")
    axes.set_xlabel("nodes")
    axes.set_ylabel("share of the running time (%)")


def _above(axes: Any, x: float, share: float, row: Any, *, numbered: bool) -> None:
    """A bar's number, and around it what marks the points of the other panels."""
    from matplotlib.transforms import ScaledTranslation

    if numbered:
        axes.annotate(
            _percent(share), (x, share), xytext=(0, 2), textcoords="offset points", ha="center", fontsize="small"
        )
    if row.ranks == 1:
        # It exchanges nothing: what is noisy of its step is not this share.
        return
    middle = axes.transData + ScaledTranslation(0, _NUMBER / 72, axes.figure.dpi_scale_trans)
    for mark, drawn in (("noisy", ring), ("throttled", square)):
        if getattr(row, mark):
            axes.plot(
                x, share, **drawn(OVERVIEW), transform=middle, clip_on=False, gid=f"share:{row.kind}:{row.nodes}:{mark}"
            )


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
    layers = tables.layers
    bars = intensity_bars(layers)
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
    axes.set_yticks([sum(ys) / len(ys) for ys in rows.values()], [shortened(label) for label in rows])
    if len(bars) > 12:
        axes.tick_params(axis="y", labelsize="small")
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    many = len(layers) > MANY_LAYERS
    axes.set_title(f"Arithmetic intensity of {len(layers):,} layers" if many else "Arithmetic intensity")
    batch = int(layers["local_batch"].max())
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
    for kind, layers in frame.groupby("kind", sort=False, observed=True):
        each = layers[["macs_per_byte", "macs_per_byte_weights_reread"]]
        macs, steps = layers["macs"].sum(), each["macs_per_byte_weights_reread"].notna().all()
        reread = macs / layers["bytes_weights_reread"].sum() if steps else math.nan
        for column, (value, note) in zip(each, _conventions(macs / layers["bytes"].sum(), reread), strict=False):
            bars.append(Bar(str(kind), str(kind), float(value), note, each[column].min(), each[column].max()))
    return bars


def _conventions(once: float, reread: float) -> list[tuple[float, str]]:
    return [(once, "")] if math.isnan(reread) else [(once, _READ_ONCE), (reread, _RE_READ)]


def shortened(label: str, most: int = 30) -> str:
    """A name on one line, a long one without its middle."""
    label = cells.flat(label)
    return label if len(label) <= most else f"{label[: most - 12]}…{label[-11:]}"


def _curves(axes: Any, types: pd.DataFrame, curve: Curve, scale: float = 1.0) -> None:
    """One type after another, and a cross where it is not complete."""
    kinds = list(types["kind"].unique())
    for kind in kinds:
        rows = types[types["kind"] == kind]
        style, gid = look(kind, kinds), f"{curve.gid}:{kind}"
        series(axes, rows, curve, style, gid, pen=OVERVIEW, scale=scale)
        offset = (kinds.index(kind) - (len(kinds) - 1) / 2) * 0.05
        incomplete(axes, rows, curve, style, gid, pen=OVERVIEW, offset=offset)


def _values(axes: Any, types: pd.DataFrame) -> None:
    """The running times in words: where there is one node count, a column of points says little."""
    for row in row_tuples(types[types["seconds"].notna()]):
        where = (row.nodes, row.seconds / unit_of(types["seconds"])[1])
        axes.annotate(units.seconds(row.seconds), where, xytext=(14, 0), textcoords="offset points", va="center")
