"""Jobs on a number of nodes, as the solvers see them: of each job the counts worth taking, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from layerbench.errors import UsageError
from layerbench.schedule.jobs import MOST_NODES, Job, check_names
from layerbench.suite_format import printable

if TYPE_CHECKING:
    import numpy as np

Count = tuple[int, float]
"""A node count and a job's seconds on it."""


class Modes(NamedTuple):
    """All counts of all jobs in three arrays, a job's next to one another.

    Attributes
    ----------
    nodes, seconds, area
        Of each count: nodes, seconds on it, and their product.
    first
        For each job the place of its first count.
    """

    nodes: np.ndarray
    seconds: np.ndarray
    area: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class Instance:
    """Jobs on a number of nodes.

    Attributes
    ----------
    nodes
        How many there are, and no more than all jobs together can take.
    jobs
        All of them; at least one.
    counts
        For each job its useful (nodes, seconds), nodes ascending and seconds falling; see :meth:`Job.useful`.
    """

    nodes: int
    jobs: tuple[Job, ...]
    counts: tuple[tuple[Count, ...], ...]

    @cached_property
    def modes(self) -> Modes:
        import numpy as np

        nodes = np.array([count for of_job in self.counts for count, _ in of_job], np.float64)
        seconds = np.array([time for of_job in self.counts for _, time in of_job], np.float64)
        sizes = [len(of_job) for of_job in self.counts]
        return Modes(nodes, seconds, nodes * seconds, np.cumsum([0, *sizes[:-1]]))

    @property
    def size(self) -> int:
        """How many counts all jobs have together."""
        return sum(map(len, self.counts))

    def only(self, choice: Sequence[int]) -> Instance:
        """The same where each job may take the count of this place alone."""
        counts = tuple((of_job[place],) for of_job, place in zip(self.counts, choice, strict=True))
        return Instance(self.nodes, self.jobs, counts)


def instance(jobs: Sequence[Job], nodes: int) -> Instance:
    """Jobs on a number of nodes.

    Raises
    ------
    UsageError
        If there is no job, two have one name, ``nodes`` is not from 1 to 10⁹, or a job takes more nodes than there are.
    """
    if not jobs:
        raise UsageError("no jobs to schedule: expected at least one")
    if not 1 <= nodes <= MOST_NODES:
        raise UsageError(f"--nodes must be from 1 to {MOST_NODES:,}, not {nodes:,}")
    check_names((job.name for job in jobs), "give each a name of its own")
    counts = tuple(tuple(job.useful(nodes)) for job in jobs)
    for job, of_job in zip(jobs, counts, strict=True):
        if not of_job:
            raise UsageError(
                f"job {printable(job.name)} takes at least {job.nodes[0]:,} nodes, and there are {nodes:,}: "
                "give more with --nodes, or leave it out"
            )
    return Instance(min(nodes, sum(of_job[-1][0] for of_job in counts)), tuple(jobs), counts)
