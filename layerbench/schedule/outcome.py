"""What became of jobs that arrived over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from layerbench.schedule.trace import Arrival

SHORT = 10.0
"""Seconds: below this the slowdown of a job says nothing (Feitelson's bound). See :attr:`Outcome.tau`."""


@dataclass(frozen=True)
class Finished:
    """A job that has run.

    Attributes
    ----------
    arrival
        Its row of the trace.
    best_seconds
        Its time on the count, of those up to all nodes, that is fastest.
    history
        (time, nodes) from its start on, one for each allotment; times in seconds.
    end
        In seconds.
    """

    arrival: Arrival
    best_seconds: float
    history: tuple[tuple[float, int], ...]
    end: float

    @property
    def start(self) -> float:
        return self.history[0][0]

    @property
    def wait(self) -> float:
        """Start less arrival, in seconds."""
        return self.start - self.arrival.at

    @property
    def completion(self) -> float:
        """End less arrival, in seconds."""
        return self.end - self.arrival.at

    def spans(self) -> list[tuple[float, float, int]]:
        """(from, to, nodes), one for each allotment."""
        ends = [*(at for at, _ in self.history[1:]), self.end]
        return [(at, end, nodes) for (at, nodes), end in zip(self.history, ends, strict=True)]

    @property
    def node_seconds(self) -> float:
        """Nodes times duration, what re-allotments cost included."""
        return math.fsum((end - at) * nodes for at, end, nodes in self.spans())


@dataclass(frozen=True)
class Outcome:
    """All jobs of a trace under one policy.

    Attributes
    ----------
    policy, description
        Its name, and what it did.
    nodes
        How many there were.
    elastic_cost
        Seconds that a re-allotment cost; None where jobs kept their counts.
    noise
        By how much each time that the planner knew may have been wrong: 0.2 is 20 %.
    seed
        Of the noise.
    jobs
        In the trace's order.
    """

    policy: str
    description: str
    nodes: int
    elastic_cost: float | None
    noise: float
    seed: int
    jobs: tuple[Finished, ...]

    @cached_property
    def mean_completion(self) -> float:
        """Mean of end less arrival, in seconds."""
        return _mean([job.completion for job in self.jobs])

    @cached_property
    def p99_completion(self) -> float:
        """The least time within which 99 % of the jobs were complete, in seconds, from each one's arrival."""
        ordered = sorted(job.completion for job in self.jobs)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    @cached_property
    def mean_wait(self) -> float:
        """Mean of start less arrival, in seconds."""
        return _mean([job.wait for job in self.jobs])

    @cached_property
    def tau(self) -> float:
        """Least time that a slowdown is measured against, in seconds.

        10 s, as is usual for jobs of minutes and hours; a hundredth of the mean fastest time where that is less.
        """
        return min(SHORT, _mean([job.best_seconds for job in self.jobs]) / 100)

    @cached_property
    def bounded_slowdown(self) -> float:
        """Mean over the jobs of max(1, completion / max(fastest time on these nodes, tau))."""
        return _mean([max(1.0, job.completion / max(job.best_seconds, self.tau)) for job in self.jobs])

    @cached_property
    def node_seconds(self) -> float:
        """Nodes times duration over all jobs, what re-allotments cost included."""
        return math.fsum(job.node_seconds for job in self.jobs)

    @property
    def first(self) -> float:
        """When the first job arrived, in seconds."""
        return min(job.arrival.at for job in self.jobs)

    @property
    def makespan(self) -> float:
        """End of the last job less the first arrival, in seconds."""
        return max(job.end for job in self.jobs) - self.first

    @property
    def utilisation(self) -> float:
        """Part of the nodes' time, from the first arrival to the last end, in which a job held them."""
        # A job may be shorter than the clock can tell after a late arrival.
        return self.node_seconds / (self.nodes * self.makespan) if self.makespan > 0 else 0.0

    @property
    def reallotments(self) -> int:
        """How often a running job was given another count."""
        return sum(len(job.history) - 1 for job in self.jobs)

    def metrics(self) -> dict[str, float]:
        """All figures by name; times in seconds."""
        names = (
            *("mean_completion", "p99_completion", "mean_wait", "bounded_slowdown", "tau", "node_seconds"),
            *("utilisation", "makespan", "reallotments"),
        )
        return {**{name: getattr(self, name) for name in names}, "node_hours": self.node_seconds / 3600}

    def as_json(self) -> dict[str, Any]:
        """What was simulated and its figures, without the jobs; times in seconds."""
        return {
            "policy": self.policy,
            "description": self.description,
            "nodes": self.nodes,
            "jobs": len(self.jobs),
            "elastic_cost": self.elastic_cost,
            "noise": self.noise,
            "seed": self.seed,
            **self.metrics(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One for each job, times in seconds; ``history`` is ``start:nodes`` for each allotment, blanks between."""
        return [
            {
                "policy": self.policy,
                "noise": self.noise,
                "job": job.arrival.name,
                "type": job.arrival.type,
                "work": job.arrival.work,
                "arrival": job.arrival.at,
                "start": job.start,
                "end": job.end,
                "nodes": job.history[0][1],
                "node_seconds": job.node_seconds,
                "history": " ".join(f"{at!r}:{nodes}" for at, nodes in job.history),
            }
            for job in self.jobs
        ]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
