"""A plan: when each job starts, and on how many nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from layerbench.schedule.jobs import Job


@dataclass(frozen=True)
class Placement:
    """A job on ``nodes`` nodes from ``start`` to ``end``, in seconds."""

    job: Job
    nodes: int
    start: float

    @property
    def end(self) -> float:
        return self.start + self.job.on(self.nodes)

    @property
    def node_seconds(self) -> float:
        return self.nodes * self.job.on(self.nodes)


@dataclass(frozen=True)
class Plan:
    """What to run when, on ``nodes`` nodes.

    Attributes
    ----------
    nodes
        How many there are.
    placements
        One for each job, in the jobs' order.
    policy
        How it was found: ``best``, ``uniform`` ...
    bounds
        Lower bounds on the makespan of any plan of these jobs, by name, in seconds.
    objective
        What it was to make small.
    proven
        Whether no plan's makespan is shorter.
    notes
        What is to be known of how it was found, a sentence each.
    """

    nodes: int
    placements: tuple[Placement, ...]
    policy: str
    bounds: dict[str, float] = field(default_factory=dict)
    objective: str = "makespan"
    proven: bool = False
    notes: tuple[str, ...] = ()

    @property
    def makespan(self) -> float:
        """End of the last job, in seconds."""
        return max(placement.end for placement in self.placements)

    @property
    def lower_bound(self) -> float:
        """The largest of the bounds, in seconds; 0 where there is none."""
        return max(self.bounds.values(), default=0.0)

    @property
    def gap(self) -> float:
        """How much longer than the bound, as a fraction of it: 0.02 is 2 %."""
        return self.makespan / self.lower_bound - 1 if self.lower_bound > 0 else math.inf

    @property
    def mean_completion(self) -> float:
        """Mean end over the jobs, in seconds."""
        return math.fsum(placement.end for placement in self.placements) / len(self.placements)

    @property
    def node_seconds(self) -> float:
        """Nodes times duration, over all jobs."""
        return math.fsum(placement.node_seconds for placement in self.placements)

    @property
    def utilisation(self) -> float:
        """Part of the nodes' time until the makespan in which a job runs."""
        return self.node_seconds / (self.nodes * self.makespan)


def usage(placements: Sequence[Placement]) -> list[tuple[float, int]]:
    """How many nodes are busy from each time on, in seconds, as (time, nodes), ascending; the last is (makespan, 0)."""
    change: dict[float, int] = {}
    for placement in placements:
        change[placement.start] = change.get(placement.start, 0) + placement.nodes
        change[placement.end] = change.get(placement.end, 0) - placement.nodes
    busy, found = 0, []
    for time in sorted(change):
        busy += change[time]
        found.append((time, busy))
    return found
