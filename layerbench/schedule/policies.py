"""Plain ways to choose everybody's nodes: what a plan is measured against."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerbench.schedule.instance import Instance

_COUNTS_TRIED = 200
"""Counts tried as the one for all: all that any job may take, or of more so many, spread out."""


def uniform_choice(instance: Instance, nodes: int) -> list[int]:
    """One count for all. A job that has no time on it, or none better, takes the next smaller, or its smallest."""
    return [max(0, bisect_right(counts, nodes, key=lambda count: count[0]) - 1) for counts in instance.counts]


def counts_for_all(instance: Instance) -> list[int]:
    """Counts that may be the one for all: every one that some job has, or of very many some, evenly."""
    counts = sorted({count for of_job in instance.counts for count, _ in of_job})
    if len(counts) <= _COUNTS_TRIED:
        return counts
    last = len(counts) - 1
    return [counts[round(step * last / (_COUNTS_TRIED - 1))] for step in range(_COUNTS_TRIED)]


def fastest_choice(instance: Instance) -> list[int]:
    """Places of the counts on which each job is quickest."""
    return [len(counts) - 1 for counts in instance.counts]


def efficient_choice(instance: Instance) -> list[int]:
    """Places of the counts of the least node-seconds, and of those that are equal, but for rounding, the quickest."""
    choice = []
    for counts in instance.counts:
        least = min(nodes * seconds for nodes, seconds in counts)
        within = [place for place, (nodes, seconds) in enumerate(counts) if nodes * seconds <= least * (1 + 1e-9)]
        choice.append(within[-1])
    return choice


def marginal_choice(instance: Instance) -> list[int]:
    """Places of the counts where nodes go to whichever job one more saves the most time, while all fit side by side.

    The step is to whichever larger count saves the most for each node: unit steps stall where a curve is flat and then
    falls. Where not even the smallest counts fit side by side these are taken.
    """
    choice = [0] * len(instance.jobs)
    left = instance.nodes - sum(counts[0][0] for counts in instance.counts)
    hulls = [_hull(counts) for counts in instance.counts]
    queue = [_step(instance.counts[job], hull, 0, job) for job, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(queue)
    while queue and left > 0:
        _, vertex, job = heapq.heappop(queue)
        counts, hull = instance.counts[job], hulls[job]
        further = counts[hull[vertex]][0] - counts[choice[job]][0]
        if further > left:
            continue
        left -= further
        choice[job] = hull[vertex]
        if vertex + 1 < len(hull):
            heapq.heappush(queue, _step(counts, hull, vertex, job))
    return choice


def _hull(counts: Sequence[tuple[int, float]]) -> list[int]:
    """Places of the counts on the lower convex hull of a curve: from each the next saves the most for a node."""
    hull: list[int] = []
    for place, (nodes, seconds) in enumerate(counts):
        while len(hull) > 1:
            (n1, t1), (n2, t2) = counts[hull[-2]], counts[hull[-1]]
            if (t2 - t1) * (nodes - n1) < (seconds - t1) * (n2 - n1):
                break
            hull.pop()
        hull.append(place)
    return hull


def _step(counts: Sequence[tuple[int, float]], hull: Sequence[int], vertex: int, job: int) -> tuple[float, int, int]:
    """Seconds saved for each further node by the step from a vertex to the next, negative; the next; and the job."""
    (nodes, seconds), (more, less) = counts[hull[vertex]], counts[hull[vertex + 1]]
    return (less - seconds) / (more - nodes), vertex + 1, job


class Scheme(NamedTuple):
    """What it does in words, the counts it chooses, and whether jobs start in the order given, none overtaking."""

    description: str
    choice: Callable[[Instance], list[int]]
    in_order: bool = False


SCHEMES: dict[str, Scheme] = {
    "fastest": Scheme("each job on its quickest count", fastest_choice),
    "efficient": Scheme("each job on the count of the least node-hours", efficient_choice),
    "marginal": Scheme("nodes to where one more saves the most time", marginal_choice),
    "fifo": Scheme("each job on its quickest count, in the order given, none overtaking", fastest_choice, True),
}
"""What a plan is compared with besides one count for all, by policy."""
