"""The policy ``best``: each job's count by what its node-seconds cost the others.

A job on n nodes takes t(n) seconds itself, and n t(n) node-seconds from all others: with M nodes, each job that waits
behind it is delayed by n t(n) / M, were all nodes always busy. The count is therefore the one that minimises

    wait for n nodes + t(n) (1 + price n),    price = (jobs behind it + jobs that will come) / M.

With nobody behind and nobody to come this is the fastest; with a long queue it is the one of the fewest node-seconds.
Those that will come while the backlog lasts are the rate of arrivals times the backlog, and more where the load leaves
little room to catch up, as in a queue with one server: backlog / (1 - load). The weights below were chosen by
simulation at loads from 0.3 to 0.95, as a balance between the mean completion and its 99th percentile.
"""

from __future__ import annotations

import math

from layerbench.schedule import elastic
from layerbench.schedule.ahead import Ahead
from layerbench.schedule.online import Policy, backfilled
from layerbench.schedule.state import Change, Start, State, Waiting

PATIENCE = 0.4
"""A job of mean size lets those go first that come within this many times the usual completion after it; a smaller one
lets fewer, a larger one no more: long jobs make the 99th percentile."""

BEHIND, TO_COME = 2.0, 2.0
"""Weights of those that wait and those that will come."""

ROOM = 0.5
"""Least of 1 - load that is counted with."""

WAITED = 0.3
"""Part of the backlog by which two jobs' completions are thought to be alike, however long they run."""

PAYS = 4.0
"""An elastic job starts on fewer nodes than it would wait for if it takes more than this many times what a change
costs."""


def _key(state: State, job: Waiting) -> float:
    usual = state.past.fastest + state.backlog
    size = job.fastest_seconds / state.past.fastest
    return state.now + PATIENCE * min(size, 1.0) * usual


def price(state: State, behind: int, fastest: float) -> float:
    """Seconds of others that a node-second costs, for a job of such a fastest time with so many jobs behind it.

    A job whose completion will be longer than usual pays less by as much, so that it is quick where that counts.
    """
    past = state.past
    load = past.rate * past.area / state.nodes
    to_come = past.rate * state.backlog / max(ROOM, 1 - load)
    alike = WAITED * state.backlog
    longer = max(1.0, (alike + fastest) / (alike + past.fastest))
    return (BEHIND * behind + TO_COME * to_come) / (state.nodes * longer)


def starts(state: State) -> list[Start]:
    """What starts now; a reservation is for the count that the job waits for."""
    return backfilled(state, _count)


def _count(state: State, ahead: Ahead, job: Waiting, behind: int) -> int:
    of_area = price(state, behind, job.fastest_seconds)
    work, now, free = job.work, state.now, ahead.free
    least, nodes = math.inf, 0
    for count, seconds in job.shape.options:
        if count > free and nodes and _may_grow(state, job, nodes):
            break
        wait = ahead.earliest(count) - now if count > free else 0.0
        cost = wait + work * seconds * (1 + of_area * count)
        if cost < least:
            least, nodes = cost, count
    return nodes


def _may_grow(state: State, job: Waiting, nodes: int) -> bool:
    return state.elastic_cost is not None and job.seconds(nodes) > PAYS * state.elastic_cost


def changes(state: State, cost: float) -> list[Change]:
    """Running jobs give nodes to those that wait, or get those that nobody waits for."""
    waiting = len(state.queue)

    def of_area(state: State, fastest: float) -> float:
        return price(state, waiting, fastest)

    return elastic.shrunk(state, cost, of_area) if waiting else elastic.grown(state, cost, of_area)


BEST = Policy(
    "best", "each at the count that costs it and the others least, short ones first, backfill", _key, starts, changes
)
