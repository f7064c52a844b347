"""What the curves say: the best node count, the knee, and where communication takes over, of a layer type or a layer.

All answers are about the counts that were asked for, or, where said, between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from layerbench.records import Scaling

KNEE, HIGHER_KNEE = 0.5, 0.8
"""Efficiencies up to which more nodes are said to be worth it, and clearly so."""

BOUND = 0.5
"""Share of communication from which a step is communication bound."""

EQUAL = 1e-6
"""Relative difference of times that are the same."""

LARGEST_BATCH = 2**20
"""Up to which communication is looked for that takes over."""

_BISECTIONS = 12

Shares = Callable[[Sequence[tuple[int, int]]], np.ndarray]
"""Share of communication in a step at pairs of (place in the counts, batch)."""


@dataclass(frozen=True)
class Takeover:
    """The node count from which a step is communication bound.

    Attributes
    ----------
    nodes
        None if none of the counts is.
    between
        Whether it lies between two counts that were asked for: interpolated over the logarithm of the count.
    """

    nodes: float | None
    between: bool = False


@dataclass(frozen=True)
class Threshold:
    """The batches at which communication takes over half of a step, at a node count.

    Where the batch is split, gradients stay as large whatever it is, so these are the batches below some size. Where
    outputs are split, activations grow with the batch and the reading of weights does not: it may be those above.

    Attributes
    ----------
    least
        The smallest batch that was looked at.
    spans
        First batch of each span, and the first beyond it; None where it goes on up to :data:`LARGEST_BATCH`.
    """

    nodes: int
    least: int
    spans: tuple[tuple[int, int | None], ...] = ()

    @property
    def always(self) -> bool:
        """Whether communication takes over half at every batch that was looked at."""
        return self.spans == ((self.least, None),)

    @property
    def below(self) -> int | None:
        """The batch below which it does; None if it does at some other batch, or at none."""
        return self.spans[0][1] if len(self.spans) == 1 and self.spans[0][0] == self.least else None


@dataclass(frozen=True)
class Answers:
    """Of a layer type or a layer.

    Attributes
    ----------
    name
        Its own.
    best, best_share
        The count of the least time for the same work, and the part of the replicas in which it is that.
    knee, higher_knee
        The largest count with an efficiency of at least 50 %, and of at least 80 %.
    takeover
        Where communication takes over.
    thresholds
        At each count of more than one rank.
    """

    name: str
    best: int
    best_share: float
    knee: int
    higher_knee: int
    takeover: Takeover
    thresholds: tuple[Threshold, ...]


def efficiency(nodes: Sequence[int], seconds: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Of each count, over the smallest: t(base) · base / (t(n) · n), in weak scaling t(base) / t(n).

    Parameters
    ----------
    seconds
        With counts along the last axis.
    """
    work = np.ones(len(nodes)) if scaling == "weak" else np.asarray(nodes) / nodes[0]
    found: np.ndarray = seconds[..., :1] / (seconds * work)
    return found


def same_work(nodes: Sequence[int], seconds: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Seconds for the batch that was asked for: in weak scaling n nodes do n times that."""
    found: np.ndarray = seconds / (np.asarray(nodes) if scaling == "weak" else 1.0)
    return found


def best(nodes: Sequence[int], seconds: np.ndarray, scaling: Scaling) -> tuple[int, float]:
    """The count of least time for the same work, of equals the smallest, and in which part of the replicas it is."""
    work = same_work(nodes, seconds, scaling)
    # Ranks without work leave a time as it is, but for rounding.
    least = np.argmax(work <= work.min(axis=1, keepdims=True) * (1 + EQUAL), axis=1)
    replicas = least[1:] if len(least) > 1 else least
    return nodes[least[0]], float(np.mean(replicas == least[0]))


def knee(nodes: Sequence[int], seconds: np.ndarray, scaling: Scaling, least: float) -> int:
    """The largest count whose efficiency is at least so much."""
    enough = efficiency(nodes, seconds, scaling) >= least
    return max(count for count, there in zip(nodes, enough, strict=True) if there)


def takeover(nodes: Sequence[int], share: np.ndarray) -> Takeover:
    """Where communication first takes half of a step."""
    for place, (count, here) in enumerate(zip(nodes, share, strict=True)):
        if here < BOUND:
            continue
        if place == 0 or here == BOUND:
            return Takeover(count)
        before, there = nodes[place - 1], share[place - 1]
        if count - before == 1:
            return Takeover(count)  # there is no count between them
        part = (BOUND - there) / (here - there)
        return Takeover(math.exp(math.log(before) + part * math.log(count / before)), between=True)
    return Takeover(None)


def thresholds(nodes: Sequence[int], least: Sequence[int], shares: Shares) -> tuple[Threshold, ...]:
    """The batches at which communication takes over half of a step, at each count: powers of two, then bisection.

    Parameters
    ----------
    least
        The smallest batch of each count that gives every rank something to do.
    """
    grids = [_powers(one) for one in least]
    asked = [(place, batch) for place, grid in enumerate(grids) for batch in grid]
    told = iter(shares(asked) >= BOUND)
    bound = [[bool(next(told)) for _ in grid] for grid in grids]
    # Between these two batches of a count it begins, or ends, that communication takes over half.
    edges = [
        (place, grid[at - 1], grid[at], over[at])
        for place, (grid, over) in enumerate(zip(grids, bound, strict=True))
        for at in range(1, len(grid))
        if over[at] != over[at - 1]
    ]
    for _ in range(_BISECTIONS):
        open_ = [at for at, (_, low, high, _) in enumerate(edges) if high - low > 1]
        if not open_:
            break
        middles = [(edges[at][0], (edges[at][1] + edges[at][2]) // 2) for at in open_]
        for at, (_, middle), share in zip(open_, middles, shares(middles), strict=True):
            place, low, high, begins = edges[at]
            edges[at] = (place, low, middle, begins) if (share >= BOUND) == begins else (place, middle, high, begins)
    found = []
    for place, (count, grid, over) in enumerate(zip(nodes, grids, bound, strict=True)):
        of_count = [(high, begins) for where, _, high, begins in edges if where == place]
        starts = [grid[0]] * over[0] + [high for high, begins in of_count if begins]
        stops: list[int | None] = [high for high, begins in of_count if not begins]
        stops += [None] * over[-1]
        found.append(Threshold(count, grid[0], tuple(zip(starts, stops, strict=True))))
    return tuple(found)


def _powers(least: int) -> list[int]:
    """The least batch, and the powers of two above it."""
    grid = [least]
    power = 1 << least.bit_length()
    while power <= max(LARGEST_BATCH, 2 * least):
        grid.append(power)
        power *= 2
    return grid
