"""Every plan of a few jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from layerbench.schedule.allotments import items
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import makespan


def every_plan(of_jobs: Instance) -> Iterator[tuple[list[int], list[int]]]:
    """Every order of the jobs with every choice of counts; among them is a best plan, whatever is to be small."""
    for choice in itertools.product(*(range(len(counts)) for counts in of_jobs.counts)):
        for order in itertools.permutations(range(len(of_jobs.jobs))):
            yield list(order), list(choice)


def optimum(of_jobs: Instance) -> float:
    """The least makespan."""
    return min(makespan(order, items(of_jobs, choice), of_jobs.nodes) for order, choice in every_plan(of_jobs))
