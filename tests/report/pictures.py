"""What is in a figure: artists by name, words, and texts that are in each other's way."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def artist(picture: Figure, gid: str) -> Any:
    found = picture.findobj(lambda one: one.get_gid() == gid)
    assert len(found) == 1, f"{len(found)} artists are called {gid}"
    return found[0]


def gids(picture: Figure) -> set[str]:
    return {one.get_gid() for one in picture.findobj() if one.get_gid()}


def words(picture: Figure) -> str:
    return " ".join(one.get_text() for one in picture.findobj(Text) if one.get_visible())


def overlaps(picture: Figure) -> list[str]:
    """Texts that cover one another, or leave the figure."""
    renderer = FigureCanvasAgg(picture).get_renderer()
    panels_ = {panel: panel.get_tightbbox(renderer) for panel in picture.axes}  # puts the labels of ticks in place
    for legend in picture.legends:
        legend.draw(renderer)
    unseen = _beyond_the_limits(picture)
    boxes = []
    for one in picture.findobj(Text):
        box = one.get_window_extent(renderer)
        shown = one.get_visible() and one.get_text().strip() and one not in unseen
        if shown and (one.axes is None or box.overlaps(panels_[one.axes])):
            boxes.append((one.get_text(), box))
    page = picture.bbox
    found = [
        f"{text} leaves the page"
        for text, box in boxes
        if box.x1 > page.x1 or box.y1 > page.y1 or min(box.x0, box.y0) < 0
    ]
    for i, (text, box) in enumerate(boxes):
        found += [f"{text} covers {other}" for other, b in boxes[i + 1 :] if box.padded(-1.5).overlaps(b.padded(-1.5))]
    return found


def _beyond_the_limits(picture: Figure) -> set[Text]:
    """Labels of ticks outside the limits of their axis, which exist somewhere and are not drawn."""
    found = set()
    for axis in (axis for panel in picture.axes for axis in (panel.xaxis, panel.yaxis)):
        low, high = sorted(axis.get_view_interval())
        room = 1e-9 * (high - low)
        found |= {tick.label1 for tick in axis.get_major_ticks() if not low - room <= tick.get_loc() <= high + room}
    return found
