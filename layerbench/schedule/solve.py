"""From jobs to a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from layerbench import units
from layerbench.errors import UsageError
from layerbench.schedule import allotments, completion, exact, policies
from layerbench.schedule.allotments import Start
from layerbench.schedule.bounds import bounds
from layerbench.schedule.comparison import Row
from layerbench.schedule.goals import Completion, Makespan, Usage
from layerbench.schedule.instance import Instance, instance
from layerbench.schedule.jobs import Job
from layerbench.schedule.packing import starts
from layerbench.schedule.plan import Placement, Plan
from layerbench.schedule.search import search

Objective: TypeAlias = Literal["makespan", "mean-completion", "node-hours", "deadline"]
Policy: TypeAlias = Literal["best", "uniform", "fastest", "efficient", "marginal", "fifo", "exact"]

OBJECTIVES: tuple[str, ...] = get_args(Objective)
POLICIES: tuple[str, ...] = get_args(Policy)

SECONDS = 2.0
"""Of searching."""

ROUNDING = 1e-9
"""Of a time, relative: two that differ by no more are one."""

_FRUGAL = 0.15
"""Part of it that goes into fewer node-seconds, once the makespan is found."""


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
        ``best`` searches for the objective; ``exact`` proves the makespan, of a few jobs. The others choose counts as
        :mod:`layerbench.schedule.policies` says, whatever the objective.
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
    _check(objective, policy, seconds, deadline)
    given = instance(jobs, nodes)
    found = bounds(given)
    if policy == "best":
        plan = _BEST[objective](given, found, seconds, seed, deadline or math.inf)
    elif policy == "exact":
        plan = _exact(given, found, seconds, seed)
    else:
        plan = _scheme(given, policy)
    # A bound that the plan meets may be above it by rounding.
    all_bounds = {name: min(bound, plan.makespan) for name, bound in {**found, **plan.bounds}.items()}
    proven = plan.proven or plan.makespan <= max(all_bounds.values()) * (1 + ROUNDING)
    return Plan(nodes, plan.placements, policy, all_bounds, objective, proven, plan.notes)


def others(jobs: Sequence[Job], nodes: int, policy: str = "best", objective: Objective = "makespan") -> list[Row]:
    """What the plain schemes make of the same jobs, one count for all first, without the policy of the plan itself.

    The one count is the best for the makespan or, where that is the objective, for the mean completion.
    """
    given = instance(jobs, nodes)
    count, start = completion.uniform(given) if objective == "mean-completion" else policies.uniform(given)
    every = "every job on 1 node" if count == 1 else f"every job on {count:,} nodes, or fewer where that is as quick"
    rows = [Row.of(replace(_planned(given, start), policy="uniform"), f"{every}, the best one count for all")]
    rows += [Row.of(_scheme(given, name), description) for name, (description, _) in policies.SCHEMES.items()]
    return [row for row in rows if row.policy != policy]


def _check(objective: str, policy: str, seconds: float, deadline: float | None) -> None:
    if not 0 < seconds < math.inf:
        raise UsageError(f"--seconds must be positive, not {seconds}")
    if (deadline is not None) != (objective == "deadline"):
        raise UsageError("--objective deadline and --deadline SECONDS belong together: give both or neither")
    if deadline is not None and not 0 < deadline < math.inf:
        raise UsageError(f"--deadline must be positive seconds, not {deadline}")
    if policy != "best" and objective != "makespan":
        raise UsageError(
            f"--objective {objective} is for --policy best alone: --policy {policy} "
            + ("proves the makespan" if policy == "exact" else "chooses by no objective")
        )


def _planned(given: Instance, start: Start, *, overtake: bool = True, **more: object) -> Plan:
    """A plan of these jobs; its nodes and policy are the caller's affair."""
    of_jobs = allotments.items(given, start.choice)
    begin = starts(start.order, of_jobs, given.nodes, overtake=overtake)
    placements = tuple(Placement(job, of_jobs[i][0], begin[i]) for i, job in enumerate(given.jobs))
    return Plan(given.nodes, placements, "", **more)  # type: ignore[arg-type]


def _scheme(given: Instance, name: str) -> Plan:
    start = policies.uniform(given)[1] if name == "uniform" else policies.SCHEMES[name][1](given)
    plan = _planned(given, start, overtake=name != "fifo")
    return replace(plan, policy=name)


def _begin(given: Instance, bound: float) -> list[Start]:
    """Plans to search from by makespan, the plain schemes' among them: none is left for a worse one."""
    plain = [policies.uniform(given)[1], *(scheme(given) for _, scheme in policies.SCHEMES.values())]
    plain.sort(key=lambda start: start.value)
    if plain[0].value <= bound * (1 + ROUNDING):
        return plain
    return sorted([*allotments.starts(given, bound), *plain], key=lambda start: start.value)


def _shortest(given: Instance, found: dict[str, float], seconds: float, seed: int) -> Start:
    bound = max(found.values())
    return search(given, _begin(given, bound), Makespan(bound), seconds, seed)


def _least_makespan(given: Instance, found: dict[str, float], seconds: float, seed: int, deadline: float) -> Plan:
    shortest = _shortest(given, found, (1 - _FRUGAL) * seconds, seed)
    return _planned(given, _frugal(given, shortest, shortest.value, _FRUGAL * seconds, seed))


def _frugal(given: Instance, plan: Start, deadline: float, seconds: float, seed: int) -> Start:
    """A plan that ends by the deadline, as this one does, and of such plans takes few node-seconds."""
    least = _used(given, policies.efficient_choice(given)) * (1 + 1e-12)
    begin = [Start(_used(given, plan.choice), plan.order, plan.choice)]
    for start in _timely(given, deadline):
        fits = start.value <= deadline
        begin.append(Start(_used(given, start.choice) if fits else math.inf, start.order, start.choice))
    begin.sort(key=lambda start: start.value)
    return search(given, begin, Usage(least, deadline), seconds, seed)


def _least_completion(given: Instance, found: dict[str, float], seconds: float, seed: int, deadline: float) -> Plan:
    least = completion.bound(given)
    plain = [policies.uniform(given)[1], *(scheme(given) for _, scheme in policies.SCHEMES.values())]
    valued = [
        Start(completion.total(plan.order, allotments.items(given, plan.choice), given.nodes), plan.order, plan.choice)
        for plan in plain
    ]
    begin = sorted([*completion.starts(given), *valued], key=lambda start: start.value)
    best = search(given, begin, Completion(least), seconds, seed)
    jobs = len(given.jobs)
    above = best.value / least - 1
    bound = units.seconds(least / jobs)
    note = f"No plan has a mean completion below {bound}; this one's is at most {100 * above:.2g} % above the least."
    return _planned(given, best, notes=(note,))


def _fewest_node_hours(given: Instance, found: dict[str, float], seconds: float, seed: int, deadline: float) -> Plan:
    efficient = given.only(policies.efficient_choice(given))
    plan = _planned(efficient, _shortest(efficient, bounds(efficient), seconds, seed))
    return replace(plan, notes=("No plan takes fewer node-hours.",))


def _by_deadline(given: Instance, found: dict[str, float], seconds: float, seed: int, deadline: float) -> Plan:
    bound = max(found.values())
    deadline *= 1 + ROUNDING
    begin = _begin(given, bound)
    quick = search(given, begin, Makespan(max(bound, deadline)), seconds / 2, seed)
    if quick.value > deadline:
        # What the makespan's own search finds must do.
        quick = _shortest(given, found, (1 - _FRUGAL) * seconds, seed)
    if quick.value > deadline:
        why = (
            f"no plan ends before {units.seconds(bound)}"
            if bound > deadline
            else "none was found, though none is ruled out"
        )
        works = _rounded_up(quick.value)
        raise UsageError(f"--deadline {deadline:g}: {why}; the least that a plan was found for is {works:g} seconds")
    best = _frugal(given, quick, deadline, seconds / 2, seed)
    least = _used(given, policies.efficient_choice(given))
    above = best.value / least - 1
    told = "the fewest of any plan" if above < 1e-6 else f"{100 * above:.2g} % above the fewest of any plan"
    return _planned(given, best, notes=(f"It ends by {units.seconds(deadline)}; its node-hours are {told}.",))


def _timely(given: Instance, deadline: float) -> list[Start]:
    """Plans by makespan whose counts are those of the least node-seconds for deadlines up to this one."""
    found = []
    for share in (1.0, 0.9, 0.8, 0.65, 0.5):
        choice = allotments.least_area(given, share * deadline)
        if choice is not None:
            found.append(allotments.listed(given, choice, share * deadline))
    return found


def _used(given: Instance, choice: Sequence[int]) -> float:
    """Node-seconds of these counts."""
    return math.fsum(nodes * seconds for nodes, seconds, _ in allotments.items(given, choice))


def _rounded_up(seconds: float) -> float:
    """To four digits, and not below."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 3)
    return math.ceil(seconds / step) * step


def _exact(given: Instance, found: dict[str, float], seconds: float, seed: int) -> Plan:
    bound = max(found.values())
    start = _shortest(given, found, min(seconds, SECONDS), seed)
    solved = exact.solve(given, start, bound, seconds, seed)
    return _planned(given, solved.start, bounds={"CP-SAT": solved.bound}, proven=solved.proven)


_BEST: dict[Objective, Callable[[Instance, dict[str, float], float, int, float], Plan]] = {
    "makespan": _least_makespan,
    "mean-completion": _least_completion,
    "node-hours": _fewest_node_hours,
    "deadline": _by_deadline,
}
