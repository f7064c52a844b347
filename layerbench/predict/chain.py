"""A layout for each layer of a chain: dynamic programming over (layer, layout)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from layerbench.records import Layout

Change = Callable[[int, Layout, Layout], float]
"""Seconds of going from one layout to another before the layer of this place."""


def cheapest(own: Sequence[Mapping[Layout, float]], change: Change) -> list[Layout]:
    """The layouts of least total seconds.

    For each layer and layout the least total up to there is that of the layer before in some layout, and the change
    between; so L layers of k layouts take k² L steps, where trying all takes k^L (Jia, Lin, Qi and Aiken, Exploring
    hidden dimensions in parallelizing convolutional neural networks, 2018).

    Parameters
    ----------
    own
        Of each layer the seconds by layout; infinite for one that cannot be had. Of equal totals the layout that stands
        first counts.
    change
        What a change of layout costs, which may depend on where it is.

    Returns
    -------
    list of Layout
        One for each layer.
    """
    if not own:
        return []
    totals: dict[Layout, float] = dict(own[0])
    came_from: list[dict[Layout, Layout]] = []
    for place, costs in enumerate(own[1:], start=1):
        best: dict[Layout, Layout] = {}
        reached: dict[Layout, float] = {}
        for layout, cost in costs.items():
            through = {one: total + _changed(change, place, one, layout) for one, total in totals.items()}
            best[layout] = min(through, key=through.__getitem__)
            reached[layout] = through[best[layout]] + cost
        came_from.append(best)
        totals = reached
    layouts = [min(totals, key=totals.__getitem__)]
    for best in reversed(came_from):
        layouts.append(best[layouts[-1]])
    return layouts[::-1]


def _changed(change: Change, place: int, before: Layout, after: Layout) -> float:
    return 0.0 if before == after else change(place, before, after)
