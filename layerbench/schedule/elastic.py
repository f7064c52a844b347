"""Running jobs are given more nodes, or fewer, where that saves more than it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from layerbench.schedule.state import Change, Running, State

LOOKED_AT = 32
"""Running jobs that are looked at in one go: those that end last, for which a change has the most time to pay."""

MARGIN = 1.0
"""A change must save this many times what it costs, because another may soon undo it."""

Price = Callable[[State, float], float]
"""What a node-second costs the others, in seconds, when a job of such a fastest time takes it."""


def grown(state: State, cost: float, price: Price = lambda state, fastest: 0.0) -> list[Change]:
    """Nodes that nobody waits for go to running jobs, those that end last first."""
    if state.queue or not state.free:
        return []
    free, changes = state.free, []
    for job in _candidates(state):
        counts = [count for count in job.shape.counts if job.nodes < count <= job.nodes + free]
        if nodes := _better(state, job, counts, cost, price):
            free -= nodes - job.nodes
            changes.append(Change(job, nodes))
    return changes


def shrunk(state: State, cost: float, price: Price) -> list[Change]:
    """Running jobs give up nodes that jobs which wait use better."""
    if not state.queue:
        return []
    found = []
    for job in _candidates(state):
        counts = [count for count in job.shape.counts if count < job.nodes]
        if nodes := _better(state, job, counts, cost, price):
            found.append(Change(job, nodes))
    return found


def _candidates(state: State) -> Iterator[Running]:
    """Running jobs that make progress and were not changed at this event, those that end last first."""
    for job in state.running[: -LOOKED_AT - 1 : -1]:
        if job.changed < state.now and job.since <= state.now:
            yield job


def _better(state: State, job: Running, counts: list[int], cost: float, price: Price) -> int:
    """The count on which the rest of a job costs the least, all in all; 0 where a change does not pay."""
    if not counts:
        return 0
    left = job.left_at(state.now)
    of_area = price(state, left * job.shape.seconds[-1])
    stay = left * job.shape.on[job.nodes] * (1 + of_area * job.nodes)
    least, nodes = min(((cost + left * job.shape.on[count]) * (1 + of_area * count), count) for count in counts)
    return nodes if stay - least > MARGIN * cost * (1 + of_area * nodes) else 0
