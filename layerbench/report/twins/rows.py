"""Panels of rows: a name at the left, the marks of what it is beside it, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layerbench.report.marks import INK, Look, face, ring, square
from layerbench.report.twins.column import PEN

ROW = 0.135
"""Inches: height of a row."""

_MARK = 6.0
"""Points from the axis to the middle of a row's mark."""


@dataclass(frozen=True)
class Row:
    """One row: its label, how it is drawn, and what its mark says.

    ``placement`` is empty where there is nothing to draw.
    """

    label: str
    look: Look
    placement: str
    noisy: bool
    throttled: bool
    gid: str


def height(count: int) -> float:
    """Of a panel with so many rows, in inches."""
    return ROW * (count + 0.4)


def lay_out(panel: Any, rows: Sequence[Row]) -> None:
    """Set the y axis to rows, the first at the top, each with its label and its mark."""
    panel.set_ylim(len(rows) - 0.3, -0.7)
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    panel.tick_params(axis="y", length=0, pad=2 * _MARK)
    panel.grid(visible=False, axis="y")
    for y, row in enumerate(rows):
        mark(panel, y, row)


def mark(panel: Any, y: float, row: Row) -> None:
    """Draw a row's mark beside the axis, and what is around it."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    beside = blended_transform_factory(panel.transAxes, panel.transData)
    where = beside + ScaledTranslation(-_MARK / 72, 0, panel.figure.dpi_scale_trans)

    def draw(gid: str, **style: Any) -> None:
        panel.plot([0], [y], clip_on=False, transform=where, gid=f"{row.gid}:{gid}", **style)

    small = PEN._replace(marker=4.0, ring=3.6)
    if not row.placement:
        draw("missing", marker="x", markersize=small.marker, markeredgewidth=1.2, color=row.look.colour)
        return
    draw(
        row.placement,
        marker=row.look.marker,
        markersize=small.marker,
        markerfacecolor=face(row.placement, row.look.colour),
        markeredgecolor=row.look.colour,
        markeredgewidth=small.edge,
    )
    for applies, around, shape in ((row.noisy, "noisy", ring), (row.throttled, "throttled", square)):
        if applies:
            draw(around, **{**shape(small), "markeredgecolor": INK})


def chosen(count: int, most: int) -> list[int]:
    """``most`` of ``count`` indices, evenly from the first to the last; all where there are not more."""
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})
