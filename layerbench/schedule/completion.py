"""Plans of a small mean completion: what a job's node-seconds cost those behind it decides its count."""

from __future__ import annotations

from layerbench.schedule.allotments import Start, items
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import lateness

_PRICES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
"""Of a node-second, as parts of what it costs when every other job waits for it."""


def starts(instance: Instance) -> list[Start]:
    """Plans whose value is the sum of the jobs' ends in seconds, the best one first.

    Each job takes the count for which its seconds and the price of its node-seconds are least together. The shortest
    job comes first, or the one of the fewest node-seconds.
    """
    found: dict[tuple[int, ...], Start] = {}
    for price in _PRICES:
        choice = _priced(instance, price * len(instance.jobs) / instance.nodes)
        if tuple(choice) not in found:
            found[tuple(choice)] = ordered(instance, choice)
    return sorted(found.values(), key=lambda start: start.value)


def _priced(instance: Instance, price: float) -> list[int]:
    """Places of the counts of the least seconds times (1 + price · nodes)."""
    costs = ([seconds * (1 + price * nodes) for nodes, seconds in counts] for counts in instance.counts)
    return [cost.index(min(cost)) for cost in costs]


def ordered(instance: Instance, choice: list[int]) -> Start:
    """These counts, the shortest job first or the one of the fewest node-seconds; the value is the sum of ends."""
    of_jobs = items(instance, choice)
    orders = [
        sorted(range(len(of_jobs)), key=lambda job: of_jobs[job][1]),
        sorted(range(len(of_jobs)), key=lambda job: of_jobs[job][0] * of_jobs[job][1]),
    ]
    return min((valued(instance, order, choice) for order in orders), key=lambda start: start.value)


def valued(instance: Instance, order: list[int], choice: list[int]) -> Start:
    """A plan with the sum of the jobs' ends in seconds for its value."""
    of_jobs = [(nodes, seconds, 1.0) for nodes, seconds, _ in items(instance, choice)]
    return Start(lateness(order, of_jobs, instance.nodes, 0.0)[0], order, choice)


def bound(instance: Instance) -> float:
    """A lower bound on the sum of the jobs' ends, in seconds.

    No job ends before its least time; and of any plan the k jobs that end first have done their least node-seconds by
    then, on all nodes (Turek et al., Scheduling parallelizable tasks to minimize average response time, 1994).
    """
    import numpy as np

    modes = instance.modes
    least = np.sort(np.minimum.reduceat(modes.area, modes.first))
    return float(max(np.minimum.reduceat(modes.seconds, modes.first).sum(), np.cumsum(least).sum() / instance.nodes))
