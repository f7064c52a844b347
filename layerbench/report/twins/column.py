"""A column of panels, as wide as a column of a paper: their areas are given, the margins follow from the text around.

The layout is worked out here, once: the library's own solver is ten times slower, and leaves the last digits to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layerbench.report.marks import INK, Pen
from layerbench.report.style import fitted_key

WIDTH = 3.35
"""Inches: a column of a two-column page, 85 mm."""

DPI = 300
PEN = Pen(marker=4.5, edge=1.0, line=1.1, bar=0.8, cap=1.8, ring=4.5)

TEXT, SMALL = 8, 7
"""Points."""

_PAD, _GAP = 0.03, 0.07
_PROVISIONAL = 0.55
"""Inches: around everything, between panels, and the margin to measure the others by."""

Entry = tuple[Any, str]
"""A handle of the key and its label."""


@dataclass(frozen=True)
class Column:
    """A figure, its panels from the top down, and the heights of their areas in inches."""

    figure: Any
    panels: list[Any]
    heights: list[float]


def column(heights: Sequence[float]) -> Column:
    """A figure with panels of these heights, which share their x axis. Draw, then :func:`settle`."""
    from matplotlib.figure import Figure

    total = sum(heights) + _PROVISIONAL * len(heights)
    figure: Any = Figure(figsize=(WIDTH, total), dpi=DPI, facecolor="white")
    panels: list[Any] = []
    top = total
    for height in heights:
        bounds = (_PROVISIONAL / WIDTH, (top - height) / total, 1 - 2 * _PROVISIONAL / WIDTH, height / total)
        panels.append(figure.add_axes(bounds, sharex=panels[0] if panels else None))
        top -= height + _PROVISIONAL
    for panel in panels[:-1]:
        panel.tick_params(axis="x", labelbottom=False)
    return Column(figure, panels, list(heights))


def settle(drawn: Column, entries: Sequence[Entry] = ()) -> Any:
    """Put the key at the top, the panels below it, and make the page as high as they need; return the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    key = _key(figure, entries, renderer) if entries else None
    around = []
    for panel in drawn.panels:
        area = panel.get_window_extent(renderer)
        # Data lie within the panel; only texts reach out, and to measure 10,000 points takes a while.
        tight = panel.get_tightbbox(renderer, bbox_extra_artists=panel.texts)
        around.append([area.x0 - tight.x0, tight.x1 - area.x1, tight.y1 - area.y1, area.y0 - tight.y0])
    outer = [[max(0.0, pixels) / DPI for pixels in sides] for sides in around]
    left = max(sides[0] for sides in outer) + _PAD
    right = max(sides[1] for sides in outer) + _PAD
    above = key.get_window_extent(renderer).height / DPI + _PAD if key else _PAD
    page = above + sum(drawn.heights) + sum(top + bottom for _, _, top, bottom in outer)
    page += _GAP * (len(drawn.panels) - 1) + _PAD
    figure.set_size_inches(WIDTH, page)
    y = page - above
    for panel, height, (_, _, top, bottom) in zip(drawn.panels, drawn.heights, outer, strict=True):
        y -= top + height
        panel.set_position((left / WIDTH, y / page, 1 - (left + right) / WIDTH, height / page))
        y -= bottom + _GAP
        _align(panel, renderer)
    return figure


def _align(panel: Any, renderer: Any) -> None:
    """Put the label of the y axis at the left edge of the page, whatever the width of the numbers beside it."""
    from matplotlib.transforms import blended_transform_factory

    width = panel.yaxis.label.get_window_extent(renderer).width / DPI
    where = blended_transform_factory(panel.figure.dpi_scale_trans, panel.transAxes)
    panel.yaxis.set_label_coords(_PAD + width, 0.5, transform=where)


def _key(figure: Any, entries: Sequence[Entry], renderer: Any) -> Any:
    """The key, with as many columns as the page has room for."""
    return fitted_key(
        figure,
        [handle for handle, _ in entries],
        [label for _, label in entries],
        WIDTH * DPI,
        renderer,
        most=6,
        bbox_to_anchor=(0.0, 1.0),
        handlelength=2.2,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.3,
        borderpad=0.35,
        borderaxespad=0.0,
    )


def note(panel: Any, text: str) -> None:
    """Words in the middle of a panel that has nothing to draw."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", size=SMALL, color=INK)
