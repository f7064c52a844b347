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
    """The batch below which communication takes over half of a step, at a node count.

    Attributes
    ----------
    batch
        The least batch at which, and at all larger ones, it does not; None if it does up to :data:`LARGEST_BATCH`.
    least
        Whether this is the smallest batch there can be: communication takes over half at none.
    """

    nodes: int
    batch: int | None
    least: bool = False


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
        part = (BOUND - there) / (here - there)
        return Takeover(math.exp(math.log(before) + part * math.log(count / before)), between=True)
    return Takeover(None)


def thresholds(nodes: Sequence[int], least: Sequence[int], shares: Shares) -> tuple[Threshold, ...]:
    """The batch below which communication takes over half of a step, at each count: powers of two, then bisection.

    Parameters
    ----------
    least
        The smallest batch of each count that gives every rank a sample.
    """
    grids = [_powers(one) for one in least]
    asked = [(place, batch) for place, grid in enumerate(grids) for batch in grid]
    told = iter(shares(asked) >= BOUND)
    bound = [[bool(next(told)) for _ in grid] for grid in grids]
    spans: dict[int, tuple[int, int]] = {}
    found: dict[int, Threshold] = {}
    for place, (grid, over) in enumerate(zip(grids, bound, strict=True)):
        if over[-1]:
            found[place] = Threshold(nodes[place], None)
        elif not any(over):
            found[place] = Threshold(nodes[place], grid[0], least=True)
        else:
            last = max(index for index, there in enumerate(over) if there)
            spans[place] = (grid[last], grid[last + 1])
    for _ in range(_BISECTIONS):
        open_ = {place: span for place, span in spans.items() if span[1] - span[0] > 1}
        if not open_:
            break
        middles = [(place, (low + high) // 2) for place, (low, high) in open_.items()]
        for (place, middle), share in zip(middles, shares(middles), strict=True):
            low, high = open_[place]
            spans[place] = (middle, high) if share >= BOUND else (low, middle)
    found |= {place: Threshold(nodes[place], high) for place, (_, high) in spans.items()}
    return tuple(found[place] for place in range(len(nodes)))


def _powers(least: int) -> list[int]:
    """The least batch, and the powers of two above it."""
    grid = [least]
    power = 1 << least.bit_length()
    while power <= max(LARGEST_BATCH, 2 * least):
        grid.append(power)
        power *= 2
    return grid
