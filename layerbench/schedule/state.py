"""What an online policy sees: nodes that are free, jobs that wait, jobs that run and when they may end."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from layerbench.schedule.jobs import Job
from layerbench.schedule.trace import Arrival

REMEMBERED = 200
"""Arrivals that the present rate is taken from."""

MOMENT = 1e-6
"""Seconds: arrivals within less tell no rate."""

_expected_end = attrgetter("expected_end")


@dataclass(frozen=True)
class Shape:
    """A type as the planner knows it, for one unit of work.

    Attributes
    ----------
    counts, seconds
        The counts up to all nodes that are quicker than every smaller one, ascending, and its times on them.
    """

    counts: tuple[int, ...]
    seconds: tuple[float, ...]

    @cached_property
    def options(self) -> tuple[tuple[int, float], ...]:
        """(count, seconds), ascending."""
        return tuple(zip(self.counts, self.seconds, strict=True))

    @cached_property
    def on(self) -> dict[int, float]:
        """Seconds by count."""
        return dict(self.options)

    @property
    def fastest(self) -> int:
        return self.counts[-1]

    @cached_property
    def least_area(self) -> float:
        """Node-seconds on the count that takes the fewest."""
        return min(count * seconds for count, seconds in self.options)


def shapes(curves: Mapping[str, Job], nodes: int, noise: float, seed: int) -> dict[str, Shape]:
    """What the planner knows of each type.

    With ``noise`` each time is wrong by a factor of its own, uniform from 1 - noise to 1 + noise, the same for one
    seed, type and count whatever else there is. Curves without a count up to ``nodes`` are left out.
    """
    found = {}
    for type_, curve in curves.items():
        if curve.nodes[0] > nodes:
            continue
        seen = curve if not noise else _wrong(type_, curve, noise, seed)
        useful = seen.useful(nodes)
        found[type_] = Shape(tuple(count for count, _ in useful), tuple(seconds for _, seconds in useful))
    return found


def _wrong(type_: str, curve: Job, noise: float, seed: int) -> Job:
    factors = (random.Random(f"{seed} {count} {type_}").uniform(1 - noise, 1 + noise) for count in curve.nodes)
    return Job(curve.name, curve.type, curve.nodes, tuple(s * f for s, f in zip(curve.seconds, factors, strict=True)))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that has arrived and not started; ``index`` is its place in the trace."""

    index: int
    arrival: Arrival
    shape: Shape

    @property
    def least_area(self) -> float:
        """Node-seconds on the count that takes the fewest."""
        return self.arrival.work * self.shape.least_area

    @property
    def fastest_seconds(self) -> float:
        """Seconds on the count that is fastest."""
        return self.arrival.work * self.shape.seconds[-1]

    @property
    def work(self) -> float:
        return self.arrival.work

    def seconds(self, count: int) -> float:
        """How long it takes, as far as the planner knows."""
        return self.arrival.work * self.shape.on[count]


@dataclass(slots=True)
class Running:
    """A job that runs.

    Attributes
    ----------
    left
        Work that was left at ``since``, when it last began to make progress: later than its last change by the cost
        of that.
    changed
        When it started or was last re-allotted.
    expected_end, end
        When it ends as far as the planner knows, and in truth.
    """

    index: int
    shape: Shape
    true: Mapping[int, float]
    nodes: int
    left: float
    since: float
    changed: float

    expected_end: float = field(init=False)
    end: float = field(init=False)

    def __post_init__(self) -> None:
        self.foresee()

    def foresee(self) -> None:
        """Work out when it ends."""
        self.expected_end = self.since + self.left * self.shape.on[self.nodes]
        self.end = self.since + self.left * self.true[self.nodes]

    def left_at(self, now: float) -> float:
        """Work that is left; progress can be seen, so the planner knows it."""
        return max(0.0, self.left - max(0.0, now - self.since) / self.true[self.nodes])


@dataclass(slots=True)
class Past:
    """Averages over the jobs that have arrived: of the last :data:`REMEMBERED`, and of all for their fastest time.

    Attributes
    ----------
    rate
        Jobs that arrive in a second; 0 until two have.
    area
        Mean least node-seconds of a job.
    fastest
        Mean fastest time of a job, in seconds.
    """

    rate: float = 0.0
    area: float = 0.0
    fastest: float = 0.0
    _count: int = 0
    _recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _area: float = 0.0

    def arrived(self, now: float, job: Waiting) -> None:
        """Take note of a job."""
        if len(self._recent) == REMEMBERED:
            self._area -= self._recent[0][1]
        self._recent.append((now, job.least_area))
        self._area += job.least_area
        self.area = self._area / len(self._recent)
        span = now - self._recent[0][0]
        self.rate = len(self._recent) / span if span > MOMENT else 0.0
        self._count += 1
        self.fastest += (job.fastest_seconds - self.fastest) / self._count


@dataclass(slots=True)
class State:
    """What a policy decides upon.

    Attributes
    ----------
    nodes, free
        All of them, and those on which nothing runs.
    elastic_cost
        Seconds that a re-allotment costs; None where there is none.
    now
        In seconds.
    queue
        Jobs that wait, in the policy's order.
    running
        Jobs that run, by expected end; those that overrun their own stand first.
    past
        What is known of the jobs that have arrived.
    """

    nodes: int
    free: int
    elastic_cost: float | None = None
    now: float = 0.0
    queue: list[Waiting] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    past: Past = field(default_factory=Past)
    _waiting_area: float = 0.0
    _promised: float = 0.0

    @property
    def backlog(self) -> float:
        """Seconds for which all nodes would be busy with what waits, at its least node-seconds, and what runs."""
        running = self._promised - self.now * (self.nodes - self.free)
        return max(0.0, self._waiting_area + running) / self.nodes

    def arrive(self, job: Waiting, position: int) -> None:
        """Put a job into the queue."""
        self.queue.insert(position, job)
        self._waiting_area += job.least_area

    def depart(self, position: int) -> Waiting:
        """Take a job out of the queue."""
        job = self.queue.pop(position)
        self._waiting_area = self._waiting_area - job.least_area if self.queue else 0.0
        return job

    def enter(self, job: Running) -> None:
        """Give a job its nodes."""
        self.free -= job.nodes
        if self.free < 0:
            raise ValueError(f"{-self.free} nodes more are in use than there are")
        self._promised += job.nodes * job.expected_end
        insort(self.running, job, key=_expected_end)

    def leave(self, job: Running) -> None:
        """Take them back."""
        self.free += job.nodes
        self._promised = self._promised - job.nodes * job.expected_end if len(self.running) > 1 else 0.0
        place = bisect_left(self.running, job.expected_end, key=_expected_end)
        while self.running[place] is not job:
            place += 1
        del self.running[place]


class Start(NamedTuple):
    """Start the job at a place in the queue now."""

    position: int
    nodes: int


class Change(NamedTuple):
    """Give a running job another count now."""

    job: Running
    nodes: int
