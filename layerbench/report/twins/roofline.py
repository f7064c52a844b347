"""What kernels reach against what was measured to be possible: a panel for each run that has ceilings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.layers import PASSES
from layerbench.report import describe
from layerbench.report.axes import log_axis
from layerbench.report.marks import INK, face, look, ring, square
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys
from layerbench.report.twins.column import PEN, SMALL, Entry, column, note, settle
from layerbench.report.twins.thinning import RASTERISED, visible
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_ALONE, _FACET = 2.3, 1.5
"""Inches: height of a panel that has the figure to itself, and of one among several."""

_TAILS = {"forward": 1, "backward_data": 0, "backward_weights": 3}
"""A pass by the side to which its points have a tail, as Matplotlib's markers number them: right, left, down.

The passes of a layer have one intensity and stand above one another.
"""

_TAIL = 4.2
"""Points, from the middle of a marker."""

_HALO: dict[str, Any] = {
    "size": SMALL,
    "zorder": 6,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
}
"""Of words among points."""

_X, _Y = "macs_per_byte", "flops_per_rank"
_LOOKS_ALIKE = ["kind", "part", "placement", "noisy", "throttled"]


def roofline(tables: Tables) -> Twin | None:
    """Rate of each kernel against its intensity under the measured ceilings; None where no run has any."""
    if tables.ceilings.empty:
        return None
    of_passes = tables.records["part"].isin(PASSES) & tables.records["roof_flops"].notna()
    names = ["run", "layer", "kind", "part", "nodes", "placement", "network", "noisy", "throttled", "local_batch"]
    names += ["dtype", "algorithm", _X, _Y, "roof_flops", "fraction_of_roofline", "bound"]
    numbers = tables.records.loc[of_passes & (tables.records[_Y] > 0), names].reset_index(drop=True)
    drawn = visible(numbers, _X, _Y, ["run", *_LOOKS_ALIKE]) if len(numbers) else numbers
    return Twin(
        name="roofline",
        title=f"Rates of the kernels of {captions.subject(tables)} under the measured roofline of one rank",
        caption=captions.joined(
            captions.how(tables),
            _ceilings(tables),
            "Each point is one pass of a layer at a node count, on the rank with the largest share. Its tail tells the "
            "pass: to the right forward, to the left backward_data, down backward_weights.",
            f"Points that would hide one another are drawn once: {len(drawn):,} of {len(numbers):,}."
            if len(drawn) < len(numbers)
            else "",
            captions.marks(tables, numbers, "Hollow"),
            _without(tables),
        ),
        alt=_alt(tables, numbers),
        figure=_draw(tables, drawn),
        numbers=numbers,
    )


def _ceilings(tables: Tables) -> str:
    """The ceilings in words, with what was measured."""

    def tell(one: Tables) -> str:
        told = [
            f"{units.rate(row['flops'], 'FLOP/s')} ({row['flops_source'] or 'source not recorded'}) and "
            f"{units.rate(row['bandwidth'], 'B/s')} ({row['bandwidth_source'] or 'source not recorded'})"
            for _, row in one.ceilings.iterrows()
        ]
        return "; ".join(told)

    told = captions.of_runs(tables, tell)
    return f"Measured ceilings: {told}. What stays in cache can lie above."


def _without(tables: Tables) -> str:
    """Runs that have none, and why."""
    return captions.of_runs(tables, lambda one: describe.roofline(one.run) if one.ceilings.empty else "")


def _alt(tables: Tables, numbers: pd.DataFrame) -> str:
    told = []
    for letter, _, one in captions.each(tables):
        mine = numbers[numbers["run"].isin(list(one.runs))]
        for kind, of_kind in mine.groupby("kind", sort=False, observed=True):
            share = of_kind["fraction_of_roofline"]
            where = f"{kind} of run {letter}" if letter else str(kind)
            told.append(f"{where} {100 * share.min():.0f} to {100 * share.max():.0f} %")
    return (
        f"Kernels' share of what the roofline allows: {'; '.join(told) or 'no kernel ran on what it was measured on'}."
    )


def _draw(tables: Tables, drawn: pd.DataFrame) -> Any:
    runs = [(letter, one) for letter, _, one in captions.each(tables) if not one.ceilings.empty]
    picture = column([_ALONE if len(runs) == 1 else _FACET] * len(runs))
    kinds = keys.kinds_of(tables)
    # Some of the slope is always there, with room for its figure.
    x_span = _span([tables.ceilings["ridge"] / 3, drawn[_X]], 1.6)
    y_span = _span([tables.ceilings["flops"] * 1.3, drawn[_Y], x_span[0] * 2 * tables.ceilings["bandwidth"]], 1.4)
    for panel, (letter, one) in zip(picture.panels, runs, strict=True):
        log_axis(panel.xaxis, x_span, most=6, pad=1.0)
        log_axis(panel.yaxis, (y_span[0] / 1e9, y_span[1] / 1e9), most=6, pad=1.0)
        mine = drawn[drawn["run"].isin(list(one.runs))]
        _points(panel, mine, kinds, letter)
        for _, row in one.ceilings.iterrows():
            _ceiling(panel, row, mine, letter)
        if mine.empty:
            note(panel, "no kernel ran on what the ceilings were measured on")
        if letter:
            panel.set_title(keys.run_label(letter, next(iter(one.runs))))
        panel.set_ylabel("GFLOP/s of a rank")
    picture.panels[-1].set_xlabel("MACs per byte")
    return settle(picture, _entries(tables, drawn))


def _span(values: list[pd.Series[float]], beyond: float) -> tuple[float, float]:
    import pandas as pd

    every = pd.concat(values)
    return float(every.min()) / beyond, float(every.max()) * beyond


def _crowded(mine: pd.DataFrame, row: Any, right: float) -> bool:
    """Whether more points reach the peak in its right half than in its left."""
    middle = math.sqrt(row["ridge"] * right)
    high = mine[(mine[_Y] > row["flops"]) & (mine[_X] > row["ridge"])]
    return bool((high[_X] > middle).sum() > (high[_X] <= middle).sum())


def _ceiling(panel: Any, row: Any, mine: pd.DataFrame, letter: str) -> None:
    """Both lines with their figures, and where they meet."""
    peak, ridge = row["flops"] / 1e9, row["ridge"]
    left, right = panel.get_xlim()
    slope = peak / ridge
    (line,) = panel.plot([left, ridge, right], [left * slope, peak, peak], color=INK, linewidth=1.2, zorder=2)
    line.set_gid(":".join(filter(None, ["roofline", letter, "ceiling"])))
    panel.plot([ridge, ridge], [panel.get_ylim()[0], peak], color=INK, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    x, offset, side = (ridge, 3, "left") if _crowded(mine, row, right) else (right, -1, "right")
    text = f"peak {units.rate(row['flops'], 'FLOP/s')}"
    panel.annotate(text, (x, peak), xytext=(offset, 2.5), textcoords="offset points", ha=side, **_HALO)
    _beside(panel, (left, ridge), slope, units.rate(row["bandwidth"], "B/s"))
    foot = (ridge, panel.get_ylim()[0])
    offset, side = (2, "left") if right / ridge > ridge / left else (-2, "right")
    panel.annotate(f"ridge {ridge:.3g}", foot, xytext=(offset, 2.5), textcoords="offset points", ha=side, **_HALO)


def _beside(panel: Any, ends: tuple[float, float], slope: float, text: str) -> None:
    """Words along the slope, just above it."""
    from matplotlib.transforms import ScaledTranslation

    x = ends[0] ** 0.35 * ends[1] ** 0.65
    panel.text(
        x,
        x * slope,
        text,
        rotation=math.degrees(math.atan(slope)),
        rotation_mode="anchor",
        transform=panel.transData + ScaledTranslation(-2 / 72, 2 / 72, panel.figure.dpi_scale_trans),
        transform_rotates_text=True,
        ha="center",
        va="baseline",
        **_HALO,
    )


def _points(panel: Any, mine: pd.DataFrame, kinds: list[str], letter: str) -> None:
    many = len(mine) > RASTERISED
    size = PEN.marker if len(mine) <= 100 else 2.2 if many else 3.0
    pen = PEN._replace(marker=size, ring=3.4 if not many else 2.0)
    for (kind, part, placement), points in mine.groupby(["kind", "part", "placement"], sort=False, observed=True):
        style = look(str(kind), kinds)
        gid = ":".join(filter(None, ["roofline", letter, str(kind), str(part), str(placement)]))
        where = (points[_X], points[_Y] / 1e9)
        bare = {"linestyle": "none", "rasterized": many}
        panel.plot(
            *where,
            marker=_TAILS[str(part)],
            markersize=_TAIL * size / PEN.marker,
            markeredgecolor=style.colour,
            markeredgewidth=0.8,
            zorder=3,
            **bare,
        )
        panel.plot(
            *where,
            marker=style.marker,
            markersize=size,
            markerfacecolor=face(str(placement), style.colour),
            markeredgecolor=style.colour,
            markeredgewidth=0.8,
            zorder=4,
            gid=gid,
            **bare,
        )
        for mark, shape in (("noisy", ring), ("throttled", square)):
            marked = points[points[mark]]
            if len(marked):
                drawn = {**shape(pen), **bare, "markeredgewidth": 0.5}
                panel.plot(marked[_X], marked[_Y] / 1e9, zorder=3, gid=f"{gid}:{mark}", **drawn)


def _entries(tables: Tables, drawn: pd.DataFrame) -> list[Entry]:
    from matplotlib.lines import Line2D

    there = set(map(str, drawn["kind"].unique()))
    entries = keys.types(tables, [kind for kind in keys.kinds_of(tables) if kind in there], lines=False)
    for part in PASSES:
        if (drawn["part"] == part).any():
            style: dict[str, Any] = {"color": INK, "linestyle": "none"}
            dot = Line2D([], [], marker="o", markersize=3.0, **style)
            tail = Line2D([], [], marker=_TAILS[part], markersize=_TAIL, markeredgewidth=0.8, **style)
            entries.append(((dot, tail), part))
    return [*entries, *keys.placements(drawn, lines=False), *keys.rings(drawn)]
