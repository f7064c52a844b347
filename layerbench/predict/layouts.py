"""A layout for each layer at each node count, and the steps of a network that is split so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from layerbench.layers import AnyLayer
from layerbench.partition import connected
from layerbench.predict import chain
from layerbench.predict.layer_times import LayerTimes, Model, Place
from layerbench.predict.overlap import Backward, hideable
from layerbench.records import Layout

LAYOUTS: tuple[Layout, ...] = ("data", "model")

_QUICKER = 1e-9
"""Part of a time by which another is quicker, and not by rounding."""

InLayouts = Mapping[Layout, Sequence[LayerTimes]]
"""The times of a network's layers, in each layout that is to be had."""


@dataclass(frozen=True)
class Steps:
    """The layers of a network, each in its layout at each place; arrays are (1 + replicas, places).

    Attributes
    ----------
    layouts
        Of each layer at each place.
    passes, communication, exposed, step
        Of each layer: its passes as :class:`LayerTimes` has them, what communication is charged with, what of it the
        step has, and the step.
    """

    layouts: tuple[tuple[Layout, ...], ...]
    times: tuple[Mapping[Layout, LayerTimes], ...]
    passes: tuple[np.ndarray, ...]
    communication: tuple[np.ndarray, ...]
    exposed: tuple[np.ndarray, ...]
    step: tuple[np.ndarray, ...]

    @property
    def total(self) -> np.ndarray:
        """Seconds of all layers' steps together."""
        total: np.ndarray = np.sum(self.step, axis=0)
        return total


def chains(layers: Sequence[AnyLayer]) -> Iterator[range]:
    """Places of layers that follow one another in a network."""
    start = 0
    for place in range(1, len(layers) + 1):
        if place == len(layers) or not connected(layers[place - 1], layers[place]):
            yield range(start, place)
            start = place


def chosen(times: InLayouts, model: Model, places: Sequence[Place], *, only_full: bool = False) -> list[list[Layout]]:
    """The layouts of least time without overlap, of each layer at each place.

    Parameters
    ----------
    only_full
        Whether a layout that leaves ranks without work is out of the question where the other does not.
    """
    of_data, of_model = times["data"], times["model"]
    layers = [each.layer for each in of_data]
    found: list[list[Layout]] = [["data"] * len(places) for _ in layers]
    for column, place in enumerate(places):
        own = [_costs((one, other), column, only_full=only_full) for one, other in zip(of_data, of_model, strict=True)]
        for part in chains(layers):

            def change(at: int, before: Layout, after: Layout, first: int = part.start, where: Place = place) -> float:
                return float(model.change(layers[first + at], where, (before, after))[0])

            for at, layout in zip(part, chain.cheapest(own[part.start : part.stop], change), strict=True):
                found[at][column] = layout
    return found


def refined(
    times: InLayouts,
    starts: Sequence[Sequence[Sequence[Layout]]],
    model: Model,
    places: Sequence[Place],
    overlap: float,
) -> list[list[Layout]]:
    """The quickest layouts with overlap that lie one change after another from some to begin with.

    What can be hidden of a layer's exchange depends on what all layers after it exchange, so the least total is not to
    be had by dynamic programming. From each start one layer, or two that follow one another, is changed as long as that
    makes the whole quicker.

    Parameters
    ----------
    times, model
        Without replicas: only estimates are compared.
    starts
        Layouts of each layer at each place.
    """
    layers = range(len(starts[0]))
    columns = range(len(places))
    moves = [(at,) for at in layers] + [(at, at + 1) for at in layers[:-1]]

    def totals(layouts: Sequence[Sequence[Layout]]) -> np.ndarray:
        found: np.ndarray = steps(times, layouts, model, places, overlap).total[0]
        return found

    def improved(layouts: list[list[Layout]]) -> tuple[list[list[Layout]], np.ndarray]:
        least = totals(layouts)
        is_better = True
        while is_better:
            is_better = False
            for move in moves:
                other = [list(map(_other, each)) if at in move else list(each) for at, each in enumerate(layouts)]
                seconds = totals(other)
                for column in np.flatnonzero(seconds < least * (1 - _QUICKER)):
                    is_better = True
                    least[column] = seconds[column]
                    for at in move:
                        layouts[at][column] = other[at][column]
        return layouts, least

    ends = [improved([list(each) for each in start]) for start in starts]
    best = [min(ends, key=lambda end: float(end[1][column]))[0] for column in columns]
    return [[best[column][at][column] for column in columns] for at in layers]


def _other(layout: Layout) -> Layout:
    return "model" if layout == "data" else "data"


def _costs(of_layer: Sequence[LayerTimes], column: int, *, only_full: bool) -> dict[Layout, float]:
    costs = {each.layout: float((each.in_step + each.exchange)[0, column]) for each in of_layer}
    if all(each.shares[column].ranks + each.shares[column].idle_ranks == 1 for each in of_layer):
        # One rank has the layer whole in both, and rounding is not to choose.
        return {"data": costs["data"], "model": math.inf}
    if only_full:
        idle = {each.layout: each.shares[column].idle_ranks > 0 for each in of_layer}
        if len(set(idle.values())) > 1:
            costs = {layout: math.inf if idle[layout] else cost for layout, cost in costs.items()}
    return costs


def steps(
    times: InLayouts, layouts: Sequence[Sequence[Layout]], model: Model, places: Sequence[Place], overlap: float
) -> Steps:
    """Steps of a network's layers, each in its layout at each place.

    The step of a layer behind a change of layout includes the change.
    """
    layers = [each.layer for each in next(iter(times.values()))]
    changes = [_changes(layer, index, layers, layouts, model, places) for index, layer in enumerate(layers)]
    is_data = [np.array([layout == "data" for layout in of_layer]) for of_layer in layouts]

    def taken(name: str, index: int) -> np.ndarray:
        there = {layout: getattr(of_layers[index], name) for layout, of_layers in times.items()}
        found: np.ndarray = np.where(is_data[index], there.get("data", 0.0), there.get("model", 0.0))
        return found

    passes = [taken("in_step", index) for index in range(len(layers))]
    exchange = [taken("exchange", index) + changes[index] for index in range(len(layers))]
    exposed = list(exchange)
    if overlap > 0:
        for part in chains(layers):
            backward = [
                Backward(
                    taken("backward", i), exchange[i], taken("own", i), np.broadcast_to(is_data[i], exchange[i].shape)
                )
                for i in part
            ]
            for index, seconds in zip(part, hideable(backward), strict=True):
                exposed[index] = np.maximum(0.0, exchange[index] - overlap * seconds)
    return Steps(
        layouts=tuple(map(tuple, layouts)),
        times=tuple({layout: of_layers[index] for layout, of_layers in times.items()} for index in range(len(layers))),
        passes=tuple(passes),
        communication=tuple(exchange[i] + taken("waiting", i) for i in range(len(layers))),
        exposed=tuple(exposed),
        step=tuple(one + other for one, other in zip(passes, exposed, strict=True)),
    )


def _changes(
    layer: AnyLayer,
    index: int,
    layers: Sequence[AnyLayer],
    layouts: Sequence[Sequence[Layout]],
    model: Model,
    places: Sequence[Place],
) -> np.ndarray:
    """Seconds of changing the layout before a layer; nothing where it begins a chain."""
    columns = []
    for column, place in enumerate(places):
        before = layouts[index - 1][column] if index and connected(layers[index - 1], layer) else layouts[index][column]
        columns.append(model.change(layer, place, (before, layouts[index][column])))
    return np.stack(columns, axis=1)
