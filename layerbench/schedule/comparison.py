"""What another scheme would make of the same jobs, to compare a plan with."""

from __future__ import annotations

from dataclasses import dataclass

from layerbench.schedule.plan import Plan


@dataclass(frozen=True)
class Row:
    """The plan of another scheme in short.

    Attributes
    ----------
    policy, description
        The scheme's name, and what it does in a few words.
    makespan, mean_completion
        In seconds.
    node_seconds
        Nodes times duration, over all jobs.
    """

    policy: str
    description: str
    makespan: float
    mean_completion: float
    node_seconds: float

    @classmethod
    def of(cls, plan: Plan, description: str) -> Row:
        """A plan in short."""
        return cls(plan.policy, description, plan.makespan, plan.mean_completion, plan.node_seconds)
