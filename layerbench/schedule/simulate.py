"""Jobs arrive over time and a policy starts them: simulated from event to event."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from layerbench.errors import UsageError
from layerbench.schedule.best import BEST
from layerbench.schedule.jobs import Job
from layerbench.schedule.online import PLAIN, Policy, uniform
from layerbench.schedule.outcome import Finished, Outcome
from layerbench.schedule.state import Change, Running, Shape, Start, State, Waiting, shapes
from layerbench.schedule.trace import Arrival, check
from layerbench.suite_format import did_you_mean, shown

POLICIES = ("best", "fifo", "fastest", "uniform", "marginal")

TRIED = 2_000
"""Arrivals on which ``uniform`` tries its counts."""

COUNTS_TRIED = 12
"""At most; of more, these are spread evenly over their logarithms."""


def simulate(
    arrivals: Sequence[Arrival],
    curves: Mapping[str, Job],
    nodes: int,
    policy: str | Policy = "best",
    elastic_cost: float | None = None,
    noise: float = 0.0,
    seed: int = 0,
    *,
    count: int | None = None,
) -> Outcome:
    """What becomes of jobs that arrive over time.

    At each arrival and each finish the policy plans the waiting queue anew. All policies but ``fifo`` backfill as EASY
    does: see :mod:`layerbench.schedule.online`.

    Parameters
    ----------
    arrivals
        In any order.
    curves
        By type; see :func:`layerbench.schedule.trace.curves_of`. A job of some work takes work times its curve's time.
    nodes
        How many there are.
    policy
        One of :data:`POLICIES`, or one of one's own.
    elastic_cost
        Seconds without progress after which a running job goes on with another count, at most once at an event and
        only where that saves more than it costs: ``best`` takes nodes from running jobs for those that wait, and
        ``best`` and ``marginal`` give them nodes that nobody waits for. The other policies' counts are fixed. None: the
        count is chosen once, at the start.
    noise
        Each time that the planner knows is wrong by a factor of its own, uniform from 1 - noise to 1 + noise; jobs take
        their true times.
    seed
        Of the noise.
    count
        That of ``uniform``. By default the one with the least mean completion, of all that some type can make use of,
        tried on the first :data:`TRIED` arrivals with what the planner knows: hindsight that no real scheduler has.

    Raises
    ------
    UsageError
        If there is no arrival, one cannot run (see :func:`layerbench.schedule.trace.check`), there is no such policy,
        or a number is out of its range.
    """
    if elastic_cost is not None and not 0 <= elastic_cost < math.inf:
        raise UsageError(f"--elastic must be 0 s or more, and finite, not {elastic_cost}")
    if not 0 <= noise < 1:
        raise UsageError(f"--noise must be from 0 to below 1 (0.2 is 20 %), not {noise}")
    if count is not None and not 1 <= count <= nodes:
        raise UsageError(f"the count of uniform must be from 1 to all {nodes} nodes, not {count}")
    check(arrivals, curves, nodes)
    named = {arrival.type for arrival in arrivals}
    seen = shapes({type_: curves[type_] for type_ in sorted(named)}, nodes, noise, seed)
    if isinstance(policy, str):
        policy = _policy(policy, arrivals, seen, nodes, count)
    jobs = _Simulation(arrivals, curves, nodes, policy, elastic_cost, seen).run()
    return Outcome(policy.name, policy.description, nodes, elastic_cost, noise, seed, jobs)


def _policy(name: str, arrivals: Sequence[Arrival], seen: Mapping[str, Shape], nodes: int, count: int | None) -> Policy:
    if name not in POLICIES:
        raise UsageError(f"no policy is called {shown(name)}{did_you_mean(name, POLICIES)}: {', '.join(POLICIES)}")
    if name == "uniform":
        return uniform(count if count is not None else _best_count(arrivals, seen, nodes))
    return BEST if name == "best" else PLAIN[name]


def _best_count(arrivals: Sequence[Arrival], seen: Mapping[str, Shape], nodes: int) -> int:
    """The one count for all with the least mean completion, were the planner's times true."""
    candidates = sorted({count for shape in seen.values() for count in shape.counts})
    if len(candidates) > COUNTS_TRIED:
        span = math.log(candidates[-1] / candidates[0])
        wanted = [candidates[0] * math.exp(span * step / (COUNTS_TRIED - 1)) for step in range(COUNTS_TRIED)]
        candidates = sorted({min(candidates, key=lambda each: abs(math.log(each / at))) for at in wanted})
    believed = {type_: Job(type_, type_, shape.counts, shape.seconds) for type_, shape in seen.items()}
    first = sorted(arrivals, key=lambda arrival: arrival.at)[:TRIED]

    def total(each: int) -> float:
        jobs = _Simulation(first, believed, nodes, uniform(each), None, seen).run()
        return math.fsum(job.completion for job in jobs)

    return min(candidates, key=total)


class _Simulation:
    """Jobs by their place in the trace, and the events that change what they do."""

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        curves: Mapping[str, Job],
        nodes: int,
        policy: Policy,
        elastic_cost: float | None,
        seen: Mapping[str, Shape],
    ) -> None:
        self.arrivals = arrivals
        self.policy = policy
        self.seen = seen
        self.true = {type_: dict(zip(curves[type_].nodes, curves[type_].seconds, strict=True)) for type_ in seen}
        self.fastest = {type_: curves[type_].useful(nodes)[-1][1] for type_ in seen}
        self.state = State(nodes, nodes, elastic_cost if policy.changes else None)
        self.histories: list[list[tuple[float, int]]] = [[] for _ in arrivals]
        self.ends = [math.nan] * len(arrivals)
        self._keys: list[float] = []
        self._running: dict[int, Running] = {}
        self._finishes: list[tuple[float, int, int]] = []
        """(time, job, length of its history): one that was re-allotted since does not end then."""

    def run(self) -> tuple[Finished, ...]:
        """Go from event to event until every job has ended."""
        coming = sorted(range(len(self.arrivals)), key=lambda job: self.arrivals[job].at)
        place = 0
        while place < len(coming) or self._running:
            arrival = self.arrivals[coming[place]].at if place < len(coming) else math.inf
            self.state.now = min(arrival, self._next_finish())
            while self._next_finish() <= self.state.now:
                self._finish(heapq.heappop(self._finishes)[1])
            while place < len(coming) and self.arrivals[coming[place]].at <= self.state.now:
                self._arrive(coming[place])
                place += 1
            self._plan()
        return tuple(
            Finished(arrival, arrival.work * self.fastest[arrival.type], tuple(history), end)
            for arrival, history, end in zip(self.arrivals, self.histories, self.ends, strict=True)
        )

    def _next_finish(self) -> float:
        while self._finishes:
            end, job, length = self._finishes[0]
            if length == len(self.histories[job]):
                return end
            heapq.heappop(self._finishes)
        return math.inf

    def _plan(self) -> None:
        state = self.state
        self._start(self.policy.starts(state))
        if state.elastic_cost is not None and self.policy.changes is not None:
            changes = self.policy.changes(state, state.elastic_cost)
            for change in changes:
                self._change(change, state.elastic_cost)
            if changes and state.queue:
                self._start(self.policy.starts(state))

    def _arrive(self, index: int) -> None:
        arrival = self.arrivals[index]
        job = Waiting(index, arrival, self.seen[arrival.type])
        self.state.past.arrived(self.state.now, job)
        key = self.policy.key(self.state, job)
        position = bisect_right(self._keys, key)
        self._keys.insert(position, key)
        self.state.arrive(job, position)

    def _start(self, starts: Sequence[Start]) -> None:
        now = self.state.now
        for start in reversed(starts):
            del self._keys[start.position]
            job = self.state.depart(start.position)
            self._enter(Running(job.index, job.shape, self.true[job.arrival.type], start.nodes, job.work, now, now))

    def _change(self, change: Change, cost: float) -> None:
        job, now = change.job, self.state.now
        self.state.leave(job)
        job.left = job.left_at(now)
        job.nodes, job.changed, job.since = change.nodes, now, now + cost
        job.foresee()
        self._enter(job)

    def _enter(self, job: Running) -> None:
        self.state.enter(job)
        self._running[job.index] = job
        history = self.histories[job.index]
        history.append((self.state.now, job.nodes))
        heapq.heappush(self._finishes, (job.end, job.index, len(history)))

    def _finish(self, index: int) -> None:
        self.state.leave(self._running.pop(index))
        self.ends[index] = self.state.now
