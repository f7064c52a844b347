"""What a search makes small, in the form in which it weighs one plan against another.

A search knows of a plan the weighted seconds by which jobs end after a due time (see
:func:`layerbench.schedule.packing.lateness`), its makespan, and its node-seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

_BETTER = 0.005
"""What is aimed at is better than the best so far by this part of it."""

_LATE = 10.0
"""A node-second after a deadline weighs as much as so many that are merely used."""


class Goal(Protocol):
    """What is to be small."""

    @property
    def least(self) -> float:
        """A value that no plan is below; a search ends there."""
        ...

    @property
    def uses(self) -> float:
        """Weight of the node-seconds that all jobs take together."""
        ...

    def weight(self, nodes: int) -> float:
        """Weight of a second by which a job on so many nodes is late."""
        ...

    def due(self, best: float) -> float:
        """The time after which jobs are late, once a plan of this value is known."""
        ...

    def value(self, late: float, makespan: float, used: float) -> float:
        """What a plan is worth: the less the better, infinite for none."""
        ...

    def scale(self, late: float, makespan: float, nodes: int) -> float:
        """What a change of the weighed sum is measured by, of the plan to begin with."""
        ...


@dataclass(frozen=True)
class Makespan:
    """The end of the last job, of which ``least`` is a lower bound.

    What is weighed are the node-seconds beyond a makespan a little better than the best one: most changes leave the
    makespan as it is, which one job decides, but bring the others nearer to fitting or farther from it.
    """

    least: float
    uses: float = 0.0

    def weight(self, nodes: int) -> float:
        return nodes

    def due(self, best: float) -> float:
        return max(self.least, best * (1 - _BETTER))

    def value(self, late: float, makespan: float, used: float) -> float:
        return makespan

    def scale(self, late: float, makespan: float, nodes: int) -> float:
        return makespan * nodes


@dataclass(frozen=True)
class Completion:
    """The sum of the jobs' ends, of which ``least`` is a lower bound."""

    least: float
    uses: float = 0.0

    def weight(self, nodes: int) -> float:
        return 1.0

    def due(self, best: float) -> float:
        return 0.0

    def value(self, late: float, makespan: float, used: float) -> float:
        return late

    def scale(self, late: float, makespan: float, nodes: int) -> float:
        return late


@dataclass(frozen=True)
class Usage:
    """The jobs' node-seconds, of which ``least`` is a lower bound, of plans that end by ``deadline`` seconds."""

    least: float
    deadline: float
    uses: float = 1.0

    def weight(self, nodes: int) -> float:
        return _LATE * nodes

    def due(self, best: float) -> float:
        return self.deadline

    def value(self, late: float, makespan: float, used: float) -> float:
        return used if makespan <= self.deadline else math.inf

    def scale(self, late: float, makespan: float, nodes: int) -> float:
        return makespan * nodes
