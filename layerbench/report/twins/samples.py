"""The samples of each step, one by one, relative to their median: what a median and its interval do not tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from layerbench.report import describe
from layerbench.report.columns import RunColumns, row_tuples
from layerbench.report.marks import INK, face, look
from layerbench.report.panels import shortened
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys, rows
from layerbench.report.twins.column import column, settle
from layerbench.report.twins.rows import Row
from layerbench.report.twins.thinning import RASTERISED
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_MOST_ROWS = 24
_MOST_SAMPLES = 400
"""Of a row: more would be a smear."""

_APART = 0.13
"""Of the width of the axis: what a number on it needs."""

_STRIP = 0.72
"""Height of what is drawn in a row, as a part of it."""


def samples(tables: Tables) -> Twin | None:
    """Samples of the steps with the widest spread, in the order they were taken; None where there are none."""
    steps = _steps(tables)
    if steps.empty:
        return None
    drawn = steps.nlargest(_MOST_ROWS, "spread", keep="first").sort_index()
    numbers = _samples(tables, drawn)
    spread = _usual(numbers)
    rest = len(steps) - len(drawn)
    fewer = int((drawn["sample_count"] > _MOST_SAMPLES).sum())
    return Twin(
        name="samples",
        title=f"Samples of the training steps of {captions.subject(tables)} relative to their median",
        caption=captions.joined(
            captions.how(tables),
            "A point is a sample; within a row they stand in the order they were taken, the first at the top.",
            f"Drawn are the {len(drawn)} of {len(steps):,} steps with the largest coefficient of variation."
            if rest
            else "",
            f"Of {describe.plural(fewer, 'row')} {_MOST_SAMPLES} samples are drawn, evenly over time." if fewer else "",
            f"The axis is linear to about {200 * spread:.2g} %, logarithmic beyond."
            if numbers["relative"].abs().max() > 2 * spread
            else "",
            captions.marks(tables, drawn, "Hollow"),
        ),
        alt=_alt(drawn),
        figure=_draw(tables, drawn, numbers, spread),
        numbers=numbers,
    )


def _steps(tables: Tables) -> pd.DataFrame:
    """Every step that has samples, layer by layer: its ``row`` in the run's records, and ``spread``, its coefficient of
    variation.
    """
    import numpy as np
    import pandas as pd

    parts = []
    for label, run in tables.runs.items():
        chosen = ((run.records["part"] == "step") & (run.records["status"] == "ok")).to_numpy()
        places = np.flatnonzero(chosen & (run.samples.counts > 1) & run.records["median"].notna())
        names = ["layer", "kind", "nodes", "placement", "noisy", "throttled", "median", "sample_count"]
        of_run = run.records.iloc[places][names].assign(run=label, row=places, spread=_spread(run, places))
        order = np.lexsort([of_run["nodes"], of_run["layer"].cat.codes])
        parts.append(of_run.iloc[order].astype({"layer": "str", "kind": "str", "placement": "str"}))
    return pd.concat(parts, ignore_index=True)


def _spread(run: RunColumns, places: np.ndarray) -> Any:
    """Standard deviation over mean of the samples of each of these rows."""
    import numpy as np

    if not len(places):
        return np.empty(0)
    counts = run.samples.counts[places]
    group = np.repeat(np.arange(len(places)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    values = run.samples.values[np.repeat(run.samples.starts[places], counts) + within]
    mean = np.bincount(group, values) / counts
    variance = np.bincount(group, (values - mean[group]) ** 2) / counts
    return np.sqrt(variance) / mean


def _samples(tables: Tables, drawn: pd.DataFrame) -> pd.DataFrame:
    """One row for each sample drawn: its place in time (``sample``, from 0), seconds, and its part of the median."""
    import numpy as np
    import pandas as pd

    parts = []
    for row in row_tuples(drawn):
        values = tables.runs[row.run].samples.of(row.row)
        places = np.array(rows.chosen(len(values), _MOST_SAMPLES))
        named = {"run": row.run, "layer": row.layer, "kind": row.kind, "nodes": row.nodes, "placement": row.placement}
        marked = {"noisy": row.noisy, "throttled": row.throttled, "median": row.median}
        seconds = values[places]
        taken = {"sample": places, "seconds": seconds, "relative": seconds / row.median - 1}
        parts.append(pd.DataFrame({**named, **marked, **taken}))
    return pd.concat(parts, ignore_index=True)


def _usual(numbers: pd.DataFrame) -> float:
    """What deviation is usual, in the middle of the rows: most samples of a row, but no straggler, lie within it."""
    of_rows = numbers.assign(off=numbers["relative"].abs()).groupby(["run", "layer", "nodes"], sort=False)["off"]
    return max(float(of_rows.quantile(0.9).median()), 1e-6)


def _axis(panel: Any, relative: pd.Series[float], spread: float) -> None:
    """An axis in per cent that has room for the usual and for stragglers of many times that."""
    from matplotlib.ticker import FixedLocator, NullLocator

    scale = 200 * spread
    low, high = (math.asinh(100 * float(end) / scale) for end in (relative.min(), relative.max()))
    beyond = 0.04 * (high - low) or 0.04
    low, high = low - beyond, high + beyond
    panel.set_xscale("asinh", linear_width=scale)
    panel.set_xlim(scale * math.sinh(low), scale * math.sinh(high))
    panel.xaxis.set_major_locator(FixedLocator(_ticks(low, high, scale)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}".replace("-", "−"))


def _ticks(low: float, high: float, scale: float) -> list[float]:
    """Round numbers whose labels do not touch, from 0 outwards; ``low`` and ``high`` as they lie on the axis."""
    kept = [0.0]
    for sign, end in ((1, high), (-1, -low)):
        last = 0.0
        for power in range(-4, 9):
            for digit in (1, 2, 5):
                place = math.asinh(digit * 10.0**power / scale)
                if last + _APART * (high - low) <= place <= end:
                    kept.append(sign * digit * 10.0**power)
                    last = place
    return sorted(kept)


def _alt(drawn: pd.DataFrame) -> str:
    widest = drawn.nlargest(1, "spread").iloc[0]
    return (
        f"Strip plot of the samples of {len(drawn)} steps. The widest is {widest['layer']} on "
        f"{describe.plural(int(widest['nodes']), 'node')}, whose standard deviation is {100 * widest['spread']:.2g} % "
        "of its mean."
    )


def _draw(tables: Tables, drawn: pd.DataFrame, numbers: pd.DataFrame, spread: float) -> Any:
    kinds = keys.kinds_of(tables)
    called = captions.letters(tables)
    picture = column([rows.height(len(drawn))])
    (panel,) = picture.panels
    _axis(panel, numbers["relative"], spread)
    made = []
    for row in row_tuples(drawn):
        told = [shortened(row.layer, 16), f"{row.nodes:,}", called[row.run]]
        gid = ":".join(filter(None, ["samples", called[row.run], row.layer, str(row.nodes)]))
        label = ", ".join(filter(None, told))
        made.append(Row(label, look(row.kind, kinds), row.placement, bool(row.noisy), bool(row.throttled), gid))
    rows.lay_out(panel, made)
    for y in range(0, len(made), 2):
        panel.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
    panel.axvline(0, color=INK, linewidth=0.6, zorder=1)
    by = ["run", "layer", "nodes"]
    of_rows = dict(iter(numbers.groupby(by, sort=False)))
    for y, (row, one) in enumerate(zip(row_tuples(drawn), made, strict=True)):
        _strip(panel, y, of_rows[row.run, row.layer, row.nodes], one, rasterised=len(numbers) > RASTERISED)
    panel.set_xlabel("deviation from the median (%)")
    panel.set_ylabel("layer, nodes" if len(tables.runs) == 1 else "layer, nodes, run")
    there = set(drawn["kind"])
    entries = keys.types(tables, [kind for kind in kinds if kind in there], lines=False)
    return settle(picture, [*entries, *keys.placements(drawn, lines=False), *keys.rings(drawn)])


def _strip(panel: Any, y: int, of_row: pd.DataFrame, row: Row, *, rasterised: bool) -> None:
    """A row's samples from left to right by value, and from the top down by time, so that a drift leans."""
    import numpy as np

    places = y + _STRIP * (np.linspace(-0.5, 0.5, len(of_row)) if len(of_row) > 1 else np.zeros(1))
    panel.plot(
        100 * of_row["relative"],
        places,
        linestyle="none",
        marker="o",
        markersize=1.8,
        markerfacecolor=face(row.placement, row.look.colour),
        markeredgecolor=row.look.colour,
        markeredgewidth=0.4 if row.placement == "emulated" else 0.0,
        rasterized=rasterised,
        gid=f"{row.gid}:strip",
        zorder=3,
    )
