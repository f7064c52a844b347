"""What overlap gains by the ratio of transfer to computation, and how much of what it can gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench.overlap_records import Row
from layerbench.report import cells, describe, overlap_cells
from layerbench.report.axes import log_axis
from layerbench.report.marks import BLUE, FAINT, INK, Look, face, ring
from layerbench.report.overlap_claim import GAIN
from layerbench.report.overlap_rows import LEAST_RATIO, MOST_RATIO, Measured, beside_the_curve, of_workload
from layerbench.report.twins import keys, overlap_words
from layerbench.report.twins.column import PEN, column, settle
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

BAND = "#e8ebef"
"""Behind the ratios at which the gain can be reached."""

REACHABLE = (GAIN - 1, 1 / (GAIN - 1))
"""Ratios of two stages between which 1 + min(r, 1/r) is at least the gain."""

AXIS_SPAN = (0.25, 4.0)
"""Ratios that the axis has at least, so that the band is within it."""

ETA_SPAN = (-0.25, 1.25)
"""The axis of η at most: where little can be saved, noise alone makes it anything."""

_CURVE_POINTS = 201


class Series(NamedTuple):
    """The points of one run at one node count."""

    name: str
    label: str
    rows: list[Row]
    look: Look


def gain(measured: Sequence[Measured]) -> Twin | None:
    """Speed-up and η against the ratio; None where no ratio was tried."""
    found = series(measured)
    if not found:
        return None
    rows = [row for one in found for row in one.rows]
    return Twin(
        name="overlap_gain",
        title=f"Speed-up of explicit overlap by the ratio of transfer to computation{overlap_words.of(measured)}",
        caption=_caption(measured, rows),
        alt=_alt(found),
        figure=_draw(found),
        numbers=_numbers(found),
    )


def series(measured: Sequence[Measured]) -> list[Series]:
    """What is drawn: a series for each run and node count that a ratio was tried at."""
    found: list[Series] = []
    for one in measured:
        counts = sorted({row.nodes for row in one.sweep})
        for nodes in counts:
            name = ":".join(filter(None, [one.letter, str(nodes)]))
            many = len(counts) > 1 or (not one.letter and nodes > 1)
            told = [overlap_words.called(one)] if one.letter else []
            told += [describe.plural(nodes, "node")] if many else []
            rows = [row for row in one.sweep if row.nodes == nodes]
            alone = len(measured) == 1 and len(counts) == 1
            look = Look(BLUE, "o") if alone else keys.run_look(len(found))
            found.append(Series(name, ", ".join(told) or "measured", rows, look))
    return found


def _caption(measured: Sequence[Measured], rows: Sequence[Row]) -> str:
    every = [row for one in measured for row in of_workload(one.overlap, "ratio sweep")]
    left_out = len(every) - len(rows)
    return overlap_words.joined(
        overlap_words.how(measured),
        f"Curve: what two stages can gain, 1 + min(r, 1/r). Shaded: ratios at which they can gain {GAIN}.",
        "Short lines: what can be gained here, where transfer is spread over several cores or there are more stages."
        if any(map(beside_the_curve, rows))
        else "",
        "Bars: 95 % confidence intervals." if any(row.speedup_low is not None for row in rows) else "",
        "η: the part of the time that overlap can save that it saved; at an end of its axis, a triangle: beyond it."
        if any(row.eta is not None for row in rows)
        else "",
        overlap_words.marks(rows, "Hollow"),
        f"{left_out} of {describe.plural(len(every), 'row')} without a ratio from {LEAST_RATIO:g} to {MOST_RATIO:g} "
        "not drawn."
        if left_out
        else "",
    )


def _alt(found: Sequence[Series]) -> str:
    told = []
    for one in found:
        best = max(one.rows, key=lambda row: row.speedup)
        where = "" if one.label == "measured" else f"{one.label}: "
        emulated = " (emulated)" if best.placement == "emulated" else ""
        told.append(
            f"{where}{overlap_cells.times(best.speedup)} of {overlap_cells.times(best.attainable)} attainable at a "
            f"ratio of {overlap_cells.ratio(best)}{emulated}"
        )
    return cells.flat(f"Largest speed-up by overlap: {'; '.join(told)}.")


def _numbers(found: Sequence[Series]) -> pd.DataFrame:
    import pandas as pd

    names = ["nodes", "placement", "ratio", "speedup", "speedup_low", "speedup_high", "attainable", "eta"]
    names += ["implicit_seconds", "explicit_seconds", "identical", "noisy", "oversubscribed"]
    rows = [[one.name.rpartition(":")[0], *(getattr(row, name) for name in names)] for one in found for row in one.rows]
    frame = pd.DataFrame(rows, columns=["run", *names])
    optional = ["speedup_low", "speedup_high", "eta"]
    return frame.astype({**dict.fromkeys(optional, "float64"), "identical": "boolean"})


def _draw(found: Sequence[Series]) -> Any:
    rows = [row for one in found for row in one.rows]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    has_eta = any(row.eta is not None for row in rows)
    picture = column([1.75, 0.85] if has_eta else [1.75])
    low, high = min(*ratios, AXIS_SPAN[0]), max(*ratios, AXIS_SPAN[1])
    for panel in picture.panels:
        log_axis(panel.xaxis, (low, high), pad=max(1.25, (high / low) ** 0.03), most=7)
        panel.axvspan(*REACHABLE, color=BAND, linewidth=0, zorder=0.5, gid="overlap_gain:reachable")
    _gain(picture.panels[0], found)
    if has_eta:
        _eta(picture.panels[1], found)
    picture.panels[-1].set_xlabel("ratio of transfer to computation")
    return settle(picture, _entries(found, rows))


def _gain(panel: Any, found: Sequence[Series]) -> None:
    import numpy as np

    low, high = panel.get_xlim()
    # With the peak itself, which is sharp.
    x = np.unique(np.append(np.geomspace(low, high, _CURVE_POINTS), 1.0))
    panel.plot(x, 1 + np.minimum(x, 1 / x), **_CURVE, gid="overlap_gain:attainable")
    panel.axhline(GAIN, **_LINE, gid="overlap_gain:claimed")
    ends = [2.0, 1.0]
    own = [row for one in found for row in one.rows if beside_the_curve(row)]
    if own:
        ends += [row.attainable for row in own]
        panel.plot([row.ratio for row in own], [row.attainable for row in own], **_OWN, gid="overlap_gain:own")
    for one in found:
        for row in one.rows:
            ends += [row.speedup, row.speedup_low or row.speedup, row.speedup_high or row.speedup]
        _points(panel, one, "speedup", [row.speedup for row in one.rows])
    panel.set_ylim(min(ends) - 0.04 * (max(ends) - min(ends)), max(ends) + 0.06 * (max(ends) - min(ends)))
    panel.set_ylabel("speed-up")


def _eta(panel: Any, found: Sequence[Series]) -> None:
    panel.axhline(1.0, **_CURVE, gid="overlap_gain:all")
    known = [row.eta for one in found for row in one.rows if row.eta is not None]
    low, high = max(ETA_SPAN[0], min(*known, 0.0)), min(ETA_SPAN[1], max(*known, 1.0))
    panel.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    for one in found:
        rows = [row for row in one.rows if row.eta is not None]
        within = [row for row in rows if low <= _eta_of(row) <= high]
        _points(panel, one._replace(rows=within), "eta", [_eta_of(row) for row in within])
        for row in rows:
            if not low <= _eta_of(row) <= high:
                above = _eta_of(row) > high
                beyond = Look(one.look.colour, "^" if above else "v")
                _points(panel, one._replace(rows=[row], look=beyond), "beyond", [high if above else low])
    panel.set_ylabel("η")


def _eta_of(row: Row) -> float:
    return row.eta or 0.0


def _points(panel: Any, one: Series, what: str, values: Sequence[float]) -> None:
    """Points of a series: hollow where emulated, with the marks around them, and intervals where these are known."""
    gid = f"overlap_gain:{what}:{one.name}"
    for placement in ("measured", "emulated"):
        at = [index for index, row in enumerate(one.rows) if row.placement == placement]
        if not at:
            continue
        rows, y = [one.rows[index] for index in at], [values[index] for index in at]
        x = [row.ratio for row in rows]
        if what == "speedup":
            below = [max(0.0, row.speedup - (row.speedup_low or row.speedup)) for row in rows]
            above = [max(0.0, (row.speedup_high or row.speedup) - row.speedup) for row in rows]
            look = {"fmt": "none", "ecolor": one.look.colour, "elinewidth": PEN.bar, "capsize": PEN.cap, "zorder": 3}
            bars = panel.errorbar(x, y, yerr=[below, above], **look)
            bars[2][0].set_gid(f"{gid}:{placement}:interval")
        style = {
            "marker": one.look.marker,
            "markersize": PEN.marker,
            "markerfacecolor": face(placement, one.look.colour),
            "markeredgecolor": one.look.colour,
            "markeredgewidth": PEN.edge,
            "linestyle": "none",
            "zorder": 4,
        }
        panel.plot(x, y, **style, gid=f"{gid}:{placement}")
        for mark, drawn, applies in (
            ("noisy", ring(PEN), [row.noisy for row in rows]),
            ("different", overlap_words.struck_out(), [row.identical is False for row in rows]),
        ):
            marked = [(a, b) for a, b, is_so in zip(x, y, applies, strict=True) if is_so]
            if marked:
                panel.plot(*zip(*marked, strict=True), **drawn, zorder=5, gid=f"{gid}:{placement}:{mark}")


_CURVE: dict[str, Any] = {"color": FAINT, "linewidth": 1.1, "zorder": 1.5}
_OWN: dict[str, Any] = {
    "marker": "_",
    "markersize": 2.2 * PEN.marker,
    "markeredgewidth": 1.3,
    "color": INK,
    "linestyle": "none",
    "zorder": 2,
}
_LINE: dict[str, Any] = {"color": INK, "linewidth": 0.9, "linestyle": (0, (1, 1.5)), "zorder": 1.4}


def _entries(found: Sequence[Series], rows: Sequence[Row]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = []
    if len(found) > 1 or found[0].label != "measured":
        entries += [(keys.point(one.look, lines=False), one.label) for one in found]
    entries += overlap_words.placements(rows)
    entries.append((Line2D([], [], **_CURVE), "attainable"))
    if any(map(beside_the_curve, rows)):
        entries.append((Line2D([], [], **_OWN), "attainable here"))
    entries.append((Line2D([], [], **_LINE), f"{GAIN} times"))
    entries.append((Patch(facecolor=BAND, linewidth=0), f"{GAIN} can be reached"))
    return entries + overlap_words.rings(rows)
