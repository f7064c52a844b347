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


Count = Callable[[State, Ahead, Waiting, int], int]
"""The nodes that a job starts on or waits for, when so many stand behind it."""


def backfilled(state: State, count: Count) -> list[Start]:
    """What starts now, with EASY backfill: the first that must wait has a reservation, and no later one delays it."""
    if not state.free or not state.queue:
        return []
    ahead = Ahead(state)
    found: list[Start] = []
    reserved, spare = None, 0
    for position, job in enumerate(state.queue):
        if not ahead.free or position - len(found) > BACKFILL_DEPTH:
            break
        nodes = count(state, ahead, job, len(state.queue) - len(found) - 1)
        if nodes > ahead.free:
            if reserved is None:
                reserved, spare = ahead.reserve(nodes)
            continue
        seconds = job.seconds(nodes)
        if reserved is not None and state.now + seconds > reserved:
            if nodes > spare:
                continue
            spare -= nodes
        ahead.start(nodes, seconds)
        found.append(Start(position, nodes))
    return found


def fastest(state: State) -> list[Start]:
    """Each at its fastest count."""
    return backfilled(state, lambda state, ahead, job, behind: job.shape.fastest)


def uniform(nodes: int) -> Policy:
    """One count for all: the nearest below it that a job may take, or its smallest."""

    def count(state: State, ahead: Ahead, job: Waiting, behind: int) -> int:
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
        Policy("fastest", "each at its fastest count, backfill", arrived, fastest),
        Policy("marginal", "nodes where the next step saves most, backfill", arrived, marginal, elastic.grown),
    )
}
"""By name, those without a parameter; see also :func:`uniform` and :mod:`layerbench.schedule.best`."""
