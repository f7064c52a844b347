"""Which nodes each job is drawn on: neighbours, so that it is one rectangle, wherever that is possible."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from layerbench.schedule.plan import Placement

Interval: TypeAlias = tuple[int, int]
"""Nodes from the first to before the second."""

_Choice: TypeAlias = Callable[[Sequence[Interval], int, bool], Interval]
"""The nodes to take out of stretches that hold so many, for a job that runs long or does not."""

_ROUNDING = 1e-9
"""Of the makespan: an end so little after a start comes before it."""

_ALL_TRIED = 2_000
"""Placements up to which every rule is tried; it is the direction in time that makes most of the difference."""


@dataclass(frozen=True)
class _Stay:
    """A placement as it takes nodes: from when to when, and how many."""

    start: float
    end: float
    nodes: int


def assign(placements: Sequence[Placement], nodes: int) -> list[list[Interval]]:
    """Give each placement as many nodes as it has, in as few pieces as can be found.

    Placements take nodes in the order of their starts: out of a free stretch that holds all of it, and where none
    does, out of the longest ones until it has enough. Several rules on which stretch it is are tried, forwards and
    backwards in time, and what splits least is kept.

    Parameters
    ----------
    placements
        In any order.
    nodes
        How many there are.

    Returns
    -------
    list
        For each placement its disjoint intervals of ``range(nodes)``, ascending. Of two that overlap in time no
        intervals overlap.

    Raises
    ------
    ValueError
        If the placements need more nodes at a time than there are.
    """
    forwards = [_Stay(one.start, one.end, one.nodes) for one in placements]
    backwards = [_Stay(-one.end, -one.start, one.nodes) for one in placements]
    orders: tuple[Callable[[_Stay], float], ...] = (lambda one: -one.nodes, lambda one: one.start - one.end)
    choices = (_tightest, _lowest, _two_ended) if len(placements) <= _ALL_TRIED else (_tightest,)
    best: list[list[Interval]] = []
    for stays, order, choice in product((forwards, backwards), orders, choices):
        found = _assigned(stays, nodes, order, choice)
        if not best or sum(map(len, found)) < sum(map(len, best)):
            best = found
        if sum(map(len, best)) == len(placements):
            break
    return best


def _assigned(
    stays: Sequence[_Stay], nodes: int, order: Callable[[_Stay], float], choice: _Choice
) -> list[list[Interval]]:
    free: list[Interval] = [(0, nodes)]
    running: list[tuple[float, int]] = []
    found: list[list[Interval]] = [[] for _ in stays]
    durations = sorted(one.end - one.start for one in stays)
    long = durations[len(durations) // 2]
    slack = _ROUNDING * max(max(abs(one.start), abs(one.end)) for one in stays)
    for index in sorted(range(len(stays)), key=lambda at: (stays[at].start, order(stays[at]))):
        stay = stays[index]
        ended: list[Interval] = []
        while running and running[0][0] <= stay.start + slack:
            ended += found[heapq.heappop(running)[1]]
        if ended:
            free = _merged([*free, *ended])
        found[index] = _taken(free, stay.nodes, choice, stay.end - stay.start > long)
        heapq.heappush(running, (stay.end, index))
    return found


def _merged(intervals: Sequence[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for low, high in sorted(intervals):
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _taken(free: list[Interval], count: int, choice: _Choice, long: bool) -> list[Interval]:
    """Take nodes out of those that are free."""
    holding = [one for one in free if one[1] - one[0] >= count]
    if holding:
        taken = choice(holding, count, long)
        _cut(free, next(one for one in holding if one[0] <= taken[0] < one[1]), taken)
        return [taken]
    pieces: list[Interval] = []
    for one in sorted(free, key=lambda one: (one[0] - one[1], one[0])):
        taken = (one[0], min(one[1], one[0] + count))
        _cut(free, one, taken)
        pieces.append(taken)
        count -= taken[1] - taken[0]
        if not count:
            return sorted(pieces)
    raise ValueError(f"the plan needs {count} nodes more than there are")


def _cut(free: list[Interval], whole: Interval, taken: Interval) -> None:
    at = free.index(whole)
    rest = [(whole[0], taken[0]), (taken[1], whole[1])]
    free[at : at + 1] = [one for one in rest if one[0] < one[1]]


def _tightest(holding: Sequence[Interval], count: int, long: bool) -> Interval:
    low, _ = min(holding, key=lambda one: (one[1] - one[0], one[0]))
    return low, low + count


def _lowest(holding: Sequence[Interval], count: int, long: bool) -> Interval:
    return holding[0][0], holding[0][0] + count


def _two_ended(holding: Sequence[Interval], count: int, long: bool) -> Interval:
    """What runs long at the bottom, the rest at the top, so that the rest makes no holes."""
    return (holding[0][0], holding[0][0] + count) if long else (holding[-1][1] - count, holding[-1][1])
