"""Searching for what is asked: the least makespan, mean completion or node-hours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from layerbench import units
from layerbench.errors import UsageError
from layerbench.schedule import allotments, completion, exact, policies
from layerbench.schedule.allotments import Start, used
from layerbench.schedule.bounds import bounds
from layerbench.schedule.goals import Completion, Goal, Makespan, Usage
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import starts
from layerbench.schedule.plan import Placement, Plan
from layerbench.schedule.search import search

ROUNDING = 1e-9
"""Of a time, relative: two that differ by no more are one."""

_FRUGAL = 0.15
"""Part of the seconds that goes into fewer node-seconds, once the makespan is found."""

_PROOF_BEGINS = 2.0
"""Seconds of searching, at most, before a proof is begun."""


def planned(given: Instance, start: Start, *, overtake: bool = True) -> Plan:
    """A plan in the form in which it is shown; its nodes and policy are the caller's affair."""
    of_jobs = allotments.items(given, start.choice)
    begin = starts(start.order, of_jobs, given.nodes, overtake=overtake)
    return Plan(
        given.nodes, tuple(Placement(job, of_jobs[i][0], begin[i]) for i, job in enumerate(given.jobs)), policy=""
    )


def uniform(given: Instance, objective: str, deadline: float) -> tuple[int, Start]:
    """The one count for all jobs that is best for an objective, and its plan.

    Of a deadline that no count meets, the one of the least makespan.
    """
    listed = listing(objective)
    plans = [(count, listed(given, policies.uniform_choice(given, count))) for count in policies.counts_for_all(given)]
    if objective not in ("node-hours", "deadline"):
        return min(plans, key=lambda plan: plan[1].value)
    meeting = [plan for plan in plans if plan[1].value <= deadline]
    if not meeting:
        return min(plans, key=lambda plan: plan[1].value)
    return min(meeting, key=lambda plan: (used(given, plan[1].choice), plan[1].value))


def listing(objective: str) -> Callable[[Instance, list[int]], Start]:
    """How jobs whose counts are chosen are ordered."""
    return completion.ordered if objective == "mean-completion" else allotments.listed


@dataclass(frozen=True)
class Planner:
    """A search.

    Attributes
    ----------
    given
        Jobs and nodes.
    bounds
        On the makespan of every plan, by name.
    seconds, seed
        How long, and of its random choices.
    prove
        Whether what is found is then proven, or improved, by CP-SAT, in as many seconds again.
    """

    given: Instance
    bounds: dict[str, float]
    seconds: float
    seed: int
    prove: bool = False

    @property
    def _bound(self) -> float:
        return max(self.bounds.values())

    @property
    def _searched(self) -> float:
        return min(self.seconds, _PROOF_BEGINS) if self.prove else self.seconds

    def makespan(self) -> Plan:
        """The plan that ends first; of those found that end then, the one of the fewest node-seconds."""
        shortest = self._shortest()
        if not self.prove:
            return planned(self.given, self._frugal(shortest, shortest.value, _FRUGAL * self._searched))
        solved = self._solved(shortest, Makespan(self._bound))
        return replace(planned(self.given, solved.start), bounds={"CP-SAT": solved.bound}, proven=solved.proven)

    def completion(self) -> Plan:
        """The plan whose jobs end soonest in the mean."""
        goal = Completion(completion.bound(self.given))
        plain = [completion.valued(self.given, plan.order, plan.choice) for plan in self._plain()]
        begin = sorted([*completion.starts(self.given), *plain], key=lambda start: start.value)
        best = search(self.given, begin, goal, self._searched, self.seed)
        solved = self._solved(best, goal)
        least = units.seconds(solved.bound / len(self.given.jobs))
        return self._told(solved, f"No plan has a mean completion below {least}")

    def node_hours(self) -> Plan:
        """A plan of the fewest node-seconds, and of these the one that ends first."""
        efficient = self.given.only(policies.efficient_choice(self.given))
        plan = replace(self, given=efficient, bounds=bounds(efficient)).makespan()
        note = "No plan takes fewer node-hours."
        if plan.proven:
            note = "No plan takes fewer node-hours, and none of the fewest ends sooner."
        # What bounds the makespan of these counts does not bound that of all.
        return replace(plan, bounds={}, proven=False, notes=(note,))

    def by_deadline(self, deadline: float) -> Plan:
        """The plan of the fewest node-seconds of those that end by a deadline, in seconds.

        Raises
        ------
        UsageError
            If none was found that does.
        """
        latest = deadline * (1 + ROUNDING)
        quick = search(self.given, self._begin(), Makespan(max(self._bound, latest)), self._searched / 2, self.seed)
        if quick.value > latest:
            # What the makespan's own search finds must do.
            quick = self._shortest()
        if quick.value > latest and self.prove:
            quick = self._solved(quick, Makespan(self._bound)).start
        if quick.value > latest:
            raise missed(deadline, quick.value, self._bound)
        goal = Usage(self._least_used, latest)
        solved = self._solved(self._frugal(quick, latest, self._searched / 2), goal)
        hours = f"{solved.bound / 3600:.3g} node-hours"
        return self._told(solved, f"No plan that ends by {units.seconds(deadline)} takes fewer than {hours}")

    def _told(self, solved: exact.Solved, bounded: str) -> Plan:
        """A plan with a note on how near to the bound it is."""
        above = solved.start.value / solved.bound - 1
        near = "which is this one's" if solved.proven or above < 1e-6 else f"this one's is {100 * above:.2g} % above"
        return replace(planned(self.given, solved.start), notes=(f"{bounded}; {near}.",))

    def _solved(self, start: Start, goal: Goal) -> exact.Solved:
        if not self.prove:
            return exact.Solved(start, goal.least, proven=False)
        return exact.solve(self.given, start, goal, self.seconds, self.seed)

    @property
    def _least_used(self) -> float:
        # Summed up in another order it may be less by rounding.
        return used(self.given, policies.efficient_choice(self.given)) * (1 + 1e-12)

    def _plain(self) -> list[Start]:
        """The plain schemes' plans by makespan, the best one first."""
        schemes = [allotments.listed(self.given, scheme.choice(self.given)) for scheme in policies.SCHEMES.values()]
        return sorted([uniform(self.given, "makespan", math.inf)[1], *schemes], key=lambda start: start.value)

    def _begin(self) -> list[Start]:
        """Plans to search from by makespan, the plain schemes' among them: none is left for a worse one."""
        plain = self._plain()
        if plain[0].value <= self._bound * (1 + ROUNDING):
            return plain
        return sorted([*allotments.starts(self.given, self._bound), *plain], key=lambda start: start.value)

    def _shortest(self) -> Start:
        seconds = (1 - _FRUGAL) * self._searched
        return search(self.given, self._begin(), Makespan(self._bound), seconds, self.seed)

    def _frugal(self, plan: Start, deadline: float, seconds: float) -> Start:
        """A plan that ends by the deadline, as this one does, and of such plans takes few node-seconds."""
        begin = [Start(used(self.given, plan.choice), plan.order, plan.choice)]
        for share in (1.0, 0.9, 0.8, 0.65, 0.5):
            due = share * deadline
            choice = allotments.least_area(self.given, due)
            if choice is not None:
                timely = allotments.listed(self.given, choice, due)
                value = used(self.given, choice) if timely.value <= deadline else math.inf
                begin.append(Start(value, timely.order, choice))
        begin.sort(key=lambda start: start.value)
        return search(self.given, begin, Usage(self._least_used, deadline), seconds, self.seed)


def missed(deadline: float, found: float, bound: float, among: str = "") -> UsageError:
    """That a deadline, in seconds, is not met: the least makespan found ``among`` some plans, and the bound on all."""
    why = f"no plan{among} was found that ends by then, though none is ruled out"
    if bound > deadline:
        why = f"no plan ends before {units.seconds(bound)}"
    step = 10.0 ** (math.floor(math.log10(found)) - 3)
    works = math.ceil(found / step) * step
    return UsageError(
        f"--deadline {deadline:g}: {why}; the least that a plan{among} was found for is {works:g} seconds"
    )
