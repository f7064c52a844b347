"""Whether a plan is one, by other means than those that made it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Plan


def faults(plan: Plan, jobs: Sequence[Job], nodes: int) -> list[str]:
    """What is wrong with a plan of these jobs on so many nodes; nothing if it is right."""
    found = []
    if sorted(placement.job.name for placement in plan.placements) != sorted(job.name for job in jobs):
        found.append("not every job is placed once")
    curves = {job.name: dict(zip(job.nodes, job.seconds, strict=True)) for job in jobs}
    for placement in plan.placements:
        curve = curves[placement.job.name]
        if placement.nodes not in curve:
            found.append(f"{placement.job.name} has no time on {placement.nodes} nodes")
        elif not math.isclose(placement.end - placement.start, curve[placement.nodes], rel_tol=1e-9):
            found.append(f"{placement.job.name} takes another time than its curve says")
        if placement.start < 0:
            found.append(f"{placement.job.name} starts before the beginning")
    # Use can only rise where a job starts. What ends at a time makes room for what starts then, but for rounding.
    for moment in {placement.start for placement in plan.placements}:
        later = moment + 1e-9 * max(1.0, moment)
        used = sum(p.nodes for p in plan.placements if p.start <= moment and p.end > later)
        if used > nodes:
            found.append(f"{used} nodes of {nodes} are used at {moment}")
    return found
