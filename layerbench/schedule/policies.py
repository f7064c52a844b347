"""Plain ways to choose everybody's nodes: what a plan is measured against.

Each chooses a count for every job and lists the jobs, the longest first unless it says otherwise.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence

from layerbench.schedule.allotments import Start, items, listed
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import makespan

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


def uniform(instance: Instance) -> tuple[int, Start]:
    """The one count for all jobs that is best for the makespan, and its plan."""
    plans = ((count, _listed(instance, uniform_choice(instance, count))) for count in counts_for_all(instance))
    return min(plans, key=lambda plan: plan[1].value)


def fastest(instance: Instance) -> Start:
    """Each job on the count on which it is quickest."""
    return _listed(instance, [len(counts) - 1 for counts in instance.counts])


def most_efficient(instance: Instance) -> Start:
    """Each job on the count that takes the least node-seconds, and of equal ones the quickest."""
    return _listed(instance, efficient_choice(instance))


def efficient_choice(instance: Instance) -> list[int]:
    """Places of the counts of the least node-seconds, to within rounding."""
    choice = []
    for counts in instance.counts:
        least = min(nodes * seconds for nodes, seconds in counts)
        within = [place for place, (nodes, seconds) in enumerate(counts) if nodes * seconds <= least * (1 + 1e-9)]
        choice.append(within[-1])
    return choice


def marginal(instance: Instance) -> Start:
    """Nodes go one job after another to where a node saves the most time, as long as all jobs fit side by side.

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
    return _listed(instance, choice)


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


def in_order(instance: Instance) -> Start:
    """Each job on its quickest count, in the order given."""
    choice = [len(counts) - 1 for counts in instance.counts]
    order = list(range(len(choice)))
    return Start(makespan(order, items(instance, choice), instance.nodes), order, choice)


def _listed(instance: Instance, choice: list[int]) -> Start:
    return listed(instance, choice, 0.0)


SCHEMES: dict[str, tuple[str, Callable[[Instance], Start]]] = {
    "fastest": ("each job on its quickest count", fastest),
    "efficient": ("each job on the count of the least node-hours", most_efficient),
    "marginal": ("nodes to where one more saves the most time", marginal),
    "fifo": ("each job on its quickest count, in the order given, none overtaking", in_order),
}
"""What is compared with besides one count for all, by policy: in words, and how it plans."""
