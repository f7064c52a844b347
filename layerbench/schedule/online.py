"""Policies: which of the waiting jobs start now, and on how many nodes.

A policy is asked at every arrival and every finish. Those that backfill do so as EASY does (Lifka, 1995): the first job
in the queue that cannot start has a reservation at the earliest time at which its nodes will be free, as far as the
planner knows; a later one may start now if it ends before that, or on nodes that the reservation leaves over.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from layerbench.schedule import elastic
from layerbench.schedule.ahead import Ahead
from layerbench.schedule.state import Change, Start, State, Waiting

BACKFILL_DEPTH = 100
"""Waiting jobs that are looked at in one go; what stands behind them is not backfilled yet."""


@dataclass(frozen=True)
class Policy:
    """How waiting jobs are started.

    Attributes
    ----------
    name, description
        In words.
    key
        Of a job that arrives: those with a smaller one stand before others in the queue; of equal ones the one that
        arrived first.
    starts
        What starts now; positions in the queue ascend.
    changes
        Which running jobs get another count, where that costs so many seconds; None for a policy that never does it.
    """

    name: str
    description: str
    key: Callable[[State, Waiting], float]
    starts: Callable[[State], list[Start]]
    changes: Callable[[State, float], list[Change]] | None = None


def arrived(state: State, _: Waiting) -> float:
    """The order of arrival."""
    return state.now


def fifo(state: State) -> list[Start]:
    """Each at its fastest count, in the order of arrival, none before an earlier one."""
    starts, free = [], state.free
    for position, job in enumerate(state.queue):
        if job.shape.fastest > free:
            break
        free -= job.shape.fastest
        starts.append(Start(position, job.shape.fastest))
    return starts


def backfilled(state: State, count: Callable[[Waiting], int]) -> list[Start]:
    """Each at a count that is fixed beforehand, with EASY backfill."""
    if not state.free:
        return []
    ahead = Ahead(state)
    starts: list[Start] = []
    reserved, spare = None, 0
    for position, job in enumerate(state.queue):
        if not ahead.free or position - len(starts) > BACKFILL_DEPTH:
            break
        nodes = count(job)
        if reserved is None:
            if nodes <= ahead.free:
                ahead.start(nodes, job.seconds(nodes))
                starts.append(Start(position, nodes))
            else:
                reserved, spare = ahead.reserve(nodes)
        elif nodes <= ahead.free:
            outlasts = state.now + job.seconds(nodes) > reserved
            if outlasts and nodes > spare:
                continue
            spare -= nodes if outlasts else 0
            ahead.free -= nodes
            starts.append(Start(position, nodes))
    return starts


def _fastest(job: Waiting) -> int:
    return job.shape.fastest


def uniform(nodes: int) -> Policy:
    """One count for all: the nearest below it that a job may take, or its smallest."""

    def count(job: Waiting) -> int:
        return max((each for each in job.shape.counts if each <= nodes), default=job.shape.counts[0])

    def starts(state: State) -> list[Start]:
        return backfilled(state, count)

    return Policy("uniform", f"every job on {nodes} node{'s' if nodes != 1 else ''}, backfill", arrived, starts)


def marginal(state: State) -> list[Start]:
    """All that fit on their smallest counts; then nodes go where the next step saves most seconds for each node."""
    free = state.free
    chosen: list[tuple[int, Waiting]] = []
    for position, job in enumerate(state.queue):
        if not free or position - len(chosen) > BACKFILL_DEPTH:
            break
        if job.shape.counts[0] <= free:
            free -= job.shape.counts[0]
            chosen.append((position, job))
    place = [0] * len(chosen)

    def saving(which: int) -> tuple[float, int] | None:
        counts, seconds = chosen[which][1].shape.counts, chosen[which][1].shape.seconds
        at = place[which]
        if at + 1 == len(counts):
            return None
        return -chosen[which][1].work * (seconds[at] - seconds[at + 1]) / (counts[at + 1] - counts[at]), which

    steps = [step for step in map(saving, range(len(chosen))) if step]
    heapq.heapify(steps)
    while steps and free:
        _, which = heapq.heappop(steps)
        counts = chosen[which][1].shape.counts
        more = counts[place[which] + 1] - counts[place[which]]
        if more <= free:
            free -= more
            place[which] += 1
            if step := saving(which):
                heapq.heappush(steps, step)
    return [Start(position, job.shape.counts[at]) for (position, job), at in zip(chosen, place, strict=True)]


PLAIN = {
    policy.name: policy
    for policy in (
        Policy("fifo", "each at its fastest count, none before an earlier one", arrived, fifo),
        Policy("fastest", "each at its fastest count, backfill", arrived, lambda state: backfilled(state, _fastest)),
        Policy("marginal", "nodes where the next step saves most, backfill", arrived, marginal, elastic.grown),
    )
}
"""By name, those without a parameter; see also :func:`uniform` and :mod:`layerbench.schedule.best`."""
