"""A few steps of one rank: what its stages, its computation and its exchanges do when, without and with overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.overlap_records import Mode, TimedSpan
from layerbench.report import cells, describe
from layerbench.report.curves import unit_of
from layerbench.report.marks import INK
from layerbench.report.overlap_lanes import (
    ALONE,
    COMPUTE,
    EXCHANGE,
    KINDS,
    MOVE,
    STAGE,
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
    parts,
    side_by_side,
    telling,
    that_fit,
    window,
)
from layerbench.report.overlap_rows import Measured
from layerbench.report.panels import shortened
from layerbench.report.twins import overlap_words, rows
from layerbench.report.twins.column import SMALL, column, settle
from layerbench.report.twins.thinning import RASTERISED
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_MOST_LANES = 12
"""Lanes of a panel; where there are more, workers of the stages are left out."""

_LONGEST = 16
"""Characters of a lane's name."""

_WIDE = 4.0
"""Points from which a bar is told from the next one by a white line; narrower ones would be nothing but line."""

_LEAST = 0.6
_SEEN = (STAGE, MOVE, EXCHANGE)
"""Points that even the shortest bars of these kinds are wide: what takes next to no time is there all the same."""

_PANEL = 2.4
"""Inches, about: the width of a panel."""

_LABEL = 0.075
"""Inches of a character of a step's number, with room around."""


class Shown(NamedTuple):
    """What a panel shows.

    Attributes
    ----------
    mode
        Implicit or explicit.
    lanes
        With spans in seconds from the beginning of the window.
    steps
        The numbers of the steps, in order, and when each is over.
    seconds
        How long the window is.
    left_out
        Lanes that there is no room for.
    """

    mode: Mode
    lanes: list[Lane]
    steps: dict[int, float]
    seconds: float
    left_out: list[str]


def timeline(measured: Sequence[Measured]) -> Twin | None:
    """Some steps in both modes on one time axis; None where there is no timeline, or several runs have one."""
    found = [(one, pair) for one in measured if (pair := telling(pairs(one.overlap)))]
    if len(found) != 1:
        return None
    one, pair = found[0]
    shown = [made for made in _shown(pair) if made.lanes]
    if not shown or not max(made.seconds for made in shown) > 0:
        return None
    return Twin(
        name="overlap_timeline",
        title=f"Stages, computation and exchanges over a few training steps of {pair.name}{overlap_words.of([one])}",
        caption=_caption(one, pair, shown),
        alt=_alt(pair.name, shown),
        figure=_draw(shown),
        numbers=_numbers(pair, shown),
    )


def _shown(pair: Pair) -> list[Shown]:
    order = lanes(pair.timelines)
    made = []
    for one in pair.timelines:
        start, stop, steps = window(one)
        found = in_lanes(cut(one, start, stop), order)
        kept = that_fit(found, _MOST_LANES)
        left_out = [lane.name for lane in found if lane not in kept]
        ends = {number: end - start for number, end in asks(one).items() if number in steps}
        made.append(Shown(one.mode, kept, ends, stop - start, left_out))
    return made


def _caption(one: Measured, pair: Pair, shown: Sequence[Shown]) -> str:
    left_out = [f"{made.mode} {describe.listed(made.left_out)}" for made in shown if made.left_out]
    return overlap_words.joined(
        overlap_words.how([one]),
        "Vertical lines: a step is over and the consumer asks for the next batch. Of stages, transfer and exchange "
        "every other step is paler; gaps are idle. Numbers are steps: at the top the one that computes, in bars "
        "the one whose batch it is.",
        ALONE if pair.placement == "emulated" else "",
        f"Left out: {'; '.join(left_out)}." if left_out else "",
    )


def _alt(where: str, shown: Sequence[Shown]) -> str:
    told = [
        f"{made.mode} {describe.plural(len(made.steps), 'step')} in {units.seconds(made.seconds)}" for made in shown
    ]
    return f"Timeline of {where}: {'; '.join(told)}."


def _numbers(pair: Pair, shown: Sequence[Shown]) -> pd.DataFrame:
    import pandas as pd

    told = [
        (
            made.mode,
            pair.nodes,
            pair.rank,
            pair.placement,
            lane.name,
            span.name,
            kind_of(span).label,
            span.step,
            span.start,
            span.stop,
        )
        for made in shown
        for lane in made.lanes
        for span in lane.spans
    ]
    names = ["mode", "nodes", "rank", "placement", "lane", "name", "kind", "step", "start_seconds", "stop_seconds"]
    return pd.DataFrame(told, columns=names)


def _draw(shown: Sequence[Shown]) -> Any:
    import pandas as pd
    from matplotlib.ticker import MaxNLocator

    longest = max(made.seconds for made in shown)
    unit, scale = unit_of(pd.Series([longest]))
    picture = column([rows.ROW * (len(made.lanes) + 1.25) for made in shown])
    for panel, made in zip(picture.panels, shown, strict=True):
        panel.set_xlim(0, 1.005 * longest / scale)
        panel.set_ylim(len(made.lanes) - 0.4, -1.65)
        panel.set_yticks(range(len(made.lanes)), [_readable(lane.name) for lane in made.lanes])
        panel.tick_params(axis="y", length=0)
        panel.grid(visible=False)
        many = sum(len(lane.spans) for lane in made.lanes) > RASTERISED
        for y, lane in enumerate(made.lanes):
            for found in _bars(lane, y, longest):
                found.draw(panel, made.mode, lane.name, scale, rasterised=many)
            _numbered(panel, lane, y, longest, scale)
        _steps(panel, made, longest, scale)
        per_step = f": {units.seconds(made.seconds / len(made.steps))} a step" if made.steps else ""
        panel.set_title(f"{made.mode}{per_step}")
    # As many numbers whatever the width, which is not known before they are measured.
    picture.panels[-1].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    picture.panels[-1].set_xlabel(f"time ({unit})")
    return settle(picture, _entries(shown))


def _readable(name: str) -> str:
    """A lane's name as text, which JSON need not be."""
    return shortened(name, _LONGEST).encode("utf-8", "replace").decode()


class _Bars(NamedTuple):
    """Bars of one lane that are painted alike; ``low`` and ``height`` in rows."""

    kind: Kind
    pale: bool
    wide: bool
    low: float
    height: float
    spans: list[TimedSpan]

    def draw(self, panel: Any, mode: str, lane: str, scale: float, *, rasterised: bool) -> None:
        colour = self.kind.pale if self.pale else self.kind.colour
        panel.broken_barh(
            [(span.start / scale, (span.stop - span.start) / scale) for span in self.spans],
            (self.low, self.height),
            facecolor=colour,
            edgecolor="white" if self.wide else colour,
            linewidth=0.4 if self.wide else _LEAST if self.kind in _SEEN else 0.2,
            zorder=2,
            rasterized=rasterised,
            gid=f"overlap_timeline:{mode}:{cells.flat(lane)}:{self.kind.label}",
        )


def _bars(lane: Lane, y: int, longest: float) -> list[_Bars]:
    """A lane's spans by how they are painted; what is under way together has a part of the lane's height each."""
    beside = side_by_side(lane.spans)
    height = 0.8 / len(beside)
    found: dict[tuple[Kind, bool, bool, int], list[TimedSpan]] = {}
    for place, row in enumerate(beside):
        for span in row:
            wide = 72 * _PANEL * (span.stop - span.start) / longest >= _WIDE
            found.setdefault((kind_of(span), is_pale(span), wide, place), []).append(span)
    return [
        _Bars(kind, pale, wide, y - 0.4 + place * height, height, spans)
        for (kind, pale, wide, place), spans in found.items()
    ]


def _numbered(panel: Any, lane: Lane, y: int, longest: float, scale: float) -> None:
    """Which step's batch a stage or an exchange is at work on, in its bars, where these are wide enough."""
    if len(side_by_side(lane.spans)) > 1 or parts(lane.name)[0] == COMPUTE:
        return
    for step, found in groupby(lane.spans, key=lambda span: span.step):
        spans = list(found)
        begin, end = spans[0].start, spans[-1].stop
        if step >= 0 and (end - begin) / longest * _PANEL > _LABEL * len(f"{step}"):
            dark = step % 2 == 0 and kind_of(spans[0]) is not MOVE
            colour = "white" if dark else INK
            where = ((begin + end) / 2 / scale, y)
            panel.text(*where, f"{step}", ha="center", va="center_baseline", size=6, color=colour, zorder=4)


def _steps(panel: Any, made: Shown, longest: float, scale: float) -> None:
    """Where each step is over, and its number above it where there is room."""
    begin = 0.0
    for number, end in made.steps.items():
        panel.axvline(end / scale, **_LINE, gid=f"overlap_timeline:{made.mode}:asks:{number}")
        told = f"{number:,}"
        if (end - begin) / longest * _PANEL > _LABEL * (len(told) + 1):
            middle = (begin + end) / 2 / scale
            panel.text(middle, -1.05, told, ha="center", va="center_baseline", size=SMALL, color=INK)
        begin = end


_LINE: dict[str, Any] = {"color": INK, "linewidth": 0.6, "linestyle": (0, (4, 1.5)), "zorder": 1.5}


def _entries(shown: Sequence[Shown]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    there = {kind_of(span) for made in shown for lane in made.lanes for span in lane.spans}
    entries: list[Any] = [(Patch(facecolor=kind.colour, linewidth=0), kind.label) for kind in KINDS if kind in there]
    if any(made.steps for made in shown):
        entries.append((Line2D([], [], **_LINE), "next batch"))
    return entries
