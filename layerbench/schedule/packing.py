"""List scheduling: jobs whose counts are chosen, one after another, each as early as the nodes left to it allow.

Nodes are known by when they become free; those that become free together are kept as one entry, so that the work for a
job does not grow with the number of nodes. A job takes the nodes that are free first. What these idle before it starts
is lost, but no plan is out of reach: in the order of its starts every plan is found again, or a better one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

Item = tuple[int, float, float]
"""Of a job on a count: nodes, seconds, and the weight of a second by which it ends late."""


def lateness(
    order: Iterable[int], items: Sequence[Item], nodes: int, due: float, limit: float = math.inf
) -> tuple[float, float]:
    """Weighted seconds by which jobs end after ``due``, summed up, and the makespan in seconds.

    The second is infinite as soon as the first reaches ``limit``. With a job's nodes for its weight the first says how
    far a plan is from fitting, where the makespan alone, which one job decides, does not; with 1 for each job and
    nothing due it is the sum of their ends.
    """
    times, free = [0.0], [nodes]
    late = 0.0
    for job in order:
        need, seconds, weight = items[job]
        left, i = need, 0
        there = free[0]
        while left > there:
            left -= there
            i += 1
            there = free[i]
        end = times[i] + seconds
        if end > due:
            late += weight * (end - due)
            if late >= limit:
                return late, math.inf
        if there == left:
            i += 1
        else:
            free[i] = there - left
        if i:
            del times[:i], free[:i]
        at = bisect_right(times, end)
        times.insert(at, end)
        free.insert(at, need)
    return late, times[-1]


def makespan(order: Iterable[int], items: Sequence[Item], nodes: int) -> float:
    """End of the last job, in seconds."""
    return lateness(order, items, nodes, math.inf)[1]


def starts(order: Iterable[int], items: Sequence[Item], nodes: int, *, overtake: bool = True) -> list[float]:
    """When each job starts, in seconds, in the jobs' own order.

    ``overtake`` says whether a job may start before one that comes before it in the order.
    """
    free = [(0.0, nodes)]
    begin = [0.0] * len(items)
    earliest = 0.0
    for job in order:
        left, seconds, _ = items[job]
        taken = 0
        while left > free[taken][1]:
            left -= free[taken][1]
            taken += 1
        time, there = free[taken]
        begin[job] = start = max(time, earliest)
        earliest = 0.0 if overtake else start
        free[: taken + 1] = [(time, there - left)] if there > left else []
        at = bisect_right(free, start + seconds, key=lambda entry: entry[0])
        free.insert(at, (start + seconds, items[job][0]))
    return begin
