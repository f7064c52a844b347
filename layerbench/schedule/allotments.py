"""Counts for all jobs at once, by what a makespan demands of them: where a search begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from layerbench.schedule.bounds import shelf_areas
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import Item, makespan

if TYPE_CHECKING:
    import numpy as np

_WIDEST = 1.6
"""Makespans up to this multiple of the lower bound are tried."""

_TRIED, _TRIED_OF_MANY = 24, 6
_MANY = 30_000_000
"""Counts times nodes beyond which fewer are tried, since the two shelves of each take seconds."""

_MOST, _LARGEST = 2_000_000_000, 60_000_000
"""Counts times nodes, and jobs times nodes, beyond which the shelves are left out: a minute, or 250 MB."""


class Start(NamedTuple):
    """A plan as a search changes it: what is to be small, the order of the jobs, and the place of each one's count.

    ``value`` is the makespan in seconds, unless it is said to be something else.
    """

    value: float
    order: list[int]
    choice: list[int]


def items(instance: Instance, choice: Sequence[int]) -> list[Item]:
    """Of each job its nodes, seconds, and its nodes as the weight of a second that it is late."""
    chosen = (counts[place] for counts, place in zip(instance.counts, choice, strict=True))
    return [(nodes, seconds, nodes) for nodes, seconds in chosen]


def starts(instance: Instance, bound: float) -> list[Start]:
    """Plans by the two-phase method: counts that a makespan allows, then list scheduling; the best one first.

    For makespans from the bound upwards the counts are those of the least node-seconds (Turek, Wolf and Yu, Approximate
    algorithms for scheduling parallelizable tasks, 1992), and those that set the long jobs side by side (Mounié, Rapine
    and Trystram, A 3/2-approximation algorithm for scheduling independent monotonic malleable tasks, 2007). No two have
    the same counts.
    """
    seen: dict[tuple[int, ...], Start] = {}
    for due in _dues(instance, bound):
        for choice in _choices(instance, due):
            key = tuple(choice)
            if key not in seen:
                seen[key] = listed(instance, choice, due)
    return sorted(seen.values(), key=lambda start: start.value)


def _dues(instance: Instance, bound: float) -> list[float]:
    count = _TRIED if instance.size * instance.nodes <= _MANY else _TRIED_OF_MANY
    return [bound * _WIDEST ** (step / (count - 1)) for step in range(count)]


def _choices(instance: Instance, due: float) -> Iterator[list[int]]:
    if (least := least_area(instance, due)) is not None:
        yield least
    if instance.size * instance.nodes <= _MOST and len(instance.jobs) * instance.nodes <= _LARGEST:
        areas, choices = shelf_areas(instance, due)
        if math.isfinite(areas[-1]):
            yield _traced(instance, due, choices)


def used(instance: Instance, choice: Sequence[int]) -> float:
    """Node-seconds of these counts."""
    return math.fsum(nodes * seconds for nodes, seconds, _ in items(instance, choice))


def least_area(instance: Instance, due: float) -> list[int] | None:
    """The count of the least node-seconds of each job that takes ``due`` seconds at most; None if a job has none."""
    choice = []
    for counts in instance.counts:
        within = [(nodes * seconds, place) for place, (nodes, seconds) in enumerate(counts) if seconds <= due]
        if not within:
            return None
        choice.append(min(within)[1])
    return choice


def _traced(instance: Instance, due: float, choices: Sequence[np.ndarray]) -> list[int]:
    """The choice of each job, from the last to the first, by the nodes that those after it left."""
    left, traced = instance.nodes, []
    for counts, choice in zip(reversed(instance.counts), reversed(choices), strict=True):
        place = int(choice[left])
        nodes, seconds = counts[place]
        if seconds > due / 2:
            left -= nodes
        traced.append(place)
    return traced[::-1]


def listed(instance: Instance, choice: list[int], due: float = 0.0) -> Start:
    """These counts, in the best of the usual orders: the longest, the largest or the widest job first.

    With ``due`` seconds in mind also those that take more than half of it before the others.
    """
    of_jobs = items(instance, choice)
    keys: list[list[tuple[float, ...]]] = [
        [(-seconds,) for _, seconds, _ in of_jobs],
        [(-nodes * seconds,) for nodes, seconds, _ in of_jobs],
        [(-nodes, -seconds) for nodes, seconds, _ in of_jobs],
        [(seconds <= due / 2, -nodes, -seconds) for nodes, seconds, _ in of_jobs],
    ]
    orders = [sorted(range(len(of_jobs)), key=key.__getitem__) for key in keys]
    return min(
        (Start(makespan(order, of_jobs, instance.nodes), order, choice) for order in orders),
        key=lambda start: start.value,
    )
