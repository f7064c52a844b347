"""From jobs to a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from layerbench.errors import UsageError
from layerbench.schedule import policies
from layerbench.schedule.allotments import Start
from layerbench.schedule.bounds import bounds
from layerbench.schedule.comparison import Row
from layerbench.schedule.instance import Instance, instance
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Plan
from layerbench.schedule.planner import ROUNDING, Planner, listing, missed, planned, uniform

Objective: TypeAlias = Literal["makespan", "mean-completion", "node-hours", "deadline"]
Policy: TypeAlias = Literal["best", "uniform", "fastest", "efficient", "marginal", "fifo", "exact"]

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
POLICIES: tuple[Policy, ...] = get_args(Policy)

SECONDS = 2.0
"""Of searching."""


def solve(
    jobs: Sequence[Job],
    nodes: int,
    objective: Objective = "makespan",
    policy: Policy = "best",
    seconds: float = SECONDS,
    seed: int = 0,
    deadline: float | None = None,
) -> Plan:
    """Choose a count and a start for every job.

    Parameters
    ----------
    jobs, nodes
        What to run, and on how many nodes.
    objective
        What is to be small: the ``makespan``, and of equal ones the node-hours; the ``mean-completion``, which is the
        mean of the jobs' ends; or ``node-hours``, and of equal ones the makespan. ``deadline``: the node-hours of a
        plan that ends by the deadline.
    policy
        ``best`` searches; ``exact`` then proves, of a few jobs. ``uniform`` has the one count for all that serves the
        objective best. The others choose counts as :mod:`layerbench.schedule.policies` says, whatever the objective.
    seconds, seed
        How long ``best`` and ``exact`` search, and the seed of their random choices. Of ``best`` the same seed and
        seconds give the same plan on every machine, and a slow one takes longer; of ``exact`` only what is proven is
        the same.
    deadline
        Seconds, for the objective of that name alone.

    Returns
    -------
    Plan
        With lower bounds on the makespan of every plan.

    Raises
    ------
    UsageError
        If the jobs cannot run on these nodes, something that was asked for does not fit, or no plan was found that
        meets the deadline.
    """
    _check(objective, seconds, deadline)
    given = instance(jobs, nodes)
    found = bounds(given)
    latest = math.inf if deadline is None else deadline
    if policy in ("best", "exact"):
        plan = _searched(Planner(given, found, seconds, seed, prove=policy == "exact"), objective, latest)
    else:
        plan, _ = _scheme(given, policy, objective, latest)
        if plan.makespan > latest * (1 + ROUNDING):
            raise missed(latest, plan.makespan, max(found.values()), f" of --policy {policy}")
    # A bound that the plan meets may be above it by rounding.
    all_bounds = {name: min(bound, plan.makespan) for name, bound in {**found, **plan.bounds}.items()}
    proven = plan.proven or plan.makespan <= max(all_bounds.values()) * (1 + ROUNDING)
    return Plan(nodes, plan.placements, policy, all_bounds, objective, proven, plan.notes)


def others(
    jobs: Sequence[Job],
    nodes: int,
    policy: Policy = "best",
    objective: Objective = "makespan",
    deadline: float | None = None,
) -> list[Row]:
    """What the plain schemes make of the same jobs, one count for all first, without the policy of the plan itself."""
    given = instance(jobs, nodes)
    latest = math.inf if deadline is None else deadline
    rows = []
    for name in ("uniform", *policies.SCHEMES):
        plan, description = _scheme(given, name, objective, latest)
        late = ", misses the deadline" if plan.makespan > latest * (1 + ROUNDING) else ""
        rows.append(Row.of(plan, description + late))
    return [row for row in rows if row.policy != policy]


def _check(objective: str, seconds: float, deadline: float | None) -> None:
    if not 0 < seconds < math.inf:
        raise UsageError(f"--seconds must be positive and finite, not {seconds}")
    if (deadline is not None) != (objective == "deadline"):
        raise UsageError("--objective deadline and --deadline SECONDS belong together: give both or neither")
    if deadline is not None and not 0 < deadline < math.inf:
        raise UsageError(f"--deadline must be positive seconds, not {deadline}")


def _searched(planner: Planner, objective: Objective, deadline: float) -> Plan:
    if objective == "makespan":
        return planner.makespan()
    if objective == "mean-completion":
        return planner.completion()
    return planner.node_hours() if objective == "node-hours" else planner.by_deadline(deadline)


def _scheme(given: Instance, name: str, objective: Objective, deadline: float) -> tuple[Plan, str]:
    """A plain scheme's plan, and what it does in words."""
    if name == "uniform":
        count, start = uniform(given, objective, deadline)
        every = (
            "every job on 1 node" if count == 1 else f"every job on {count:,} nodes, or fewer where that is as quick"
        )
        return replace(planned(given, start), policy=name), f"{every}, the best one count for all"
    scheme = policies.SCHEMES[name]
    choice = scheme.choice(given)
    start = Start(0.0, list(range(len(choice))), choice) if scheme.in_order else listing(objective)(given, choice)
    return replace(planned(given, start, overtake=not scheme.in_order), policy=name), scheme.description
